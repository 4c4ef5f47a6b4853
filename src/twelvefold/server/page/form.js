// The form of a task: text, dataset, candidates, and the submit button.

import { html } from './vendor/preact.js'
import { Candidates } from './candidates.js'
import { Reply, Turns } from './dialogue.js'
import { suggestionsOf } from './suggestions.js'
import { headOf, isSearch } from './tasks.js'

function Heads({ task, form, setForm }) {
  if (task.tasks.length < 2) return null
  return html`<label class="head">Answer as for
    <select value=${headOf(task, form)} onChange=${(event) => setForm({ head: event.target.value })}>
      ${task.tasks.map(({ name, title }) => html`<option key=${name} value=${name}>${title}</option>`)}
    </select>
  </label>`
}

function Suggestions({ task, state, form, images, actions }) {
  const suggestions = suggestionsOf(task, images, state, form)
  if (!suggestions.length) return null
  return html`<div class="suggestions">
    <span id="try">Try:</span>
    <ul aria-labelledby="try">
      ${suggestions.map((suggestion) => html`<li key=${suggestion.label}>
        <button type="button" class="chip" onClick=${() => actions.useSuggestion(suggestion)}>${suggestion.label}</button>
      </li>`)}
    </ul>
  </div>`
}

// Put the selected words of the caption in brackets, which mark a phrase.
function MarkPhrase({ form, setForm }) {
  const mark = () => {
    const { selectionStart: from, selectionEnd: to } = document.getElementById('text')
    const phrase = form.text.slice(from, to).trim()
    if (phrase) setForm({ text: `${form.text.slice(0, from)}[${phrase}]${form.text.slice(to)}` })
  }
  return html`<button type="button" class="quiet" onClick=${mark}>Mark the selected words</button>`
}

export function TaskForm({ task, state, form, result, images, actions }) {
  const setForm = (patch) => actions.setForm(patch, task.key)
  const pending = result?.status === 'pending'
  const error = result?.status === 'refused' ? result.error : ''
  const submit = (event) => {
    event.preventDefault()
    actions.submit()
  }
  const input = {
    value: form.text, placeholder: task.example, 'aria-invalid': Boolean(error), 'aria-describedby': 'error hint',
    onInput: (event) => setForm({ text: event.target.value }),
  }
  return html`<form class="ask" onSubmit=${submit} novalidate>
    <h2>${task.title}</h2>
    <p class="hint" id="hint">${task.hint}</p>
    ${task.input === 'dialogue' && html`<${Turns} ...${{ form, setForm }} />`}
    <label for="text">${task.label}${task.input === 'texts' ? ', one a line' : ''}</label>
    <div class="row">
      ${task.input === 'texts'
        ? html`<textarea id="text" rows="4" ...${input}></textarea>`
        : html`<input id="text" type="text" autocomplete="off" enterkeyhint="send" ...${input} />`}
      <button type="submit" class="go" aria-disabled=${pending}>${pending ? 'Waiting …' : task.verb}</button>
    </div>
    <p id="error" class="error" hidden=${!error}>${error}</p>
    ${task.input === 'dialogue' && html`<${Reply} ...${{ form, setForm }} />`}
    <${Suggestions} ...${{ task, state, form, images, actions }} />
    ${task.candidates && html`<${Candidates} ...${{ form, setForm, image: images[0] }} />`}
    <div class="row options">
      ${task.input === 'phrases' && html`<${MarkPhrase} ...${{ form, setForm }} />`}
      <${Heads} ...${{ task, form, setForm }} />
      ${!isSearch(task) && task.input !== 'phrases' &&
      html`<label class="check"><input type="checkbox" checked=${form.explain} onChange=${(event) => setForm({ explain: event.target.checked })} />
        <span>Show attention</span></label>`}
    </div>
  </form>`
}
