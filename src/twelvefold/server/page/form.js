// What is typed for a task: its text, its head, its candidates, and the button that asks.

import { html } from './vendor/preact.js'
import { Candidates } from './candidates.js'
import { Reply, Turns } from './dialogue.js'
import { suggestionsOf } from './suggestions.js'
import { headOf } from './tasks.js'

function Heads({ task, form, setForm }) {
  if (!(task.heads?.length > 1)) return null
  return html`<label class="head">In the manner of
    <select value=${headOf(task, form)} onChange=${(event) => setForm({ head: event.target.value })}>
      ${task.heads.map(([value, name]) => html`<option key=${value} value=${value}>${name}</option>`)}
    </select>
  </label>`
}

function Suggestions({ task, state, form, pictures, actions }) {
  const suggestions = suggestionsOf(task, pictures, state, form)
  if (!suggestions.length) return null
  return html`<div class="suggestions">
    <span id="try">Try:</span>
    <ul aria-labelledby="try">
      ${suggestions.map((suggestion) => html`<li key=${suggestion.label}>
        <button type="button" class="chip" onClick=${() => actions.takeUp(suggestion)}>${suggestion.label}</button>
      </li>`)}
    </ul>
  </div>`
}

// Wraps what is selected in the caption in the brackets that make it a phrase.
function MarkPhrase({ form, setForm }) {
  const mark = () => {
    const { selectionStart: from, selectionEnd: to } = document.getElementById('text')
    const phrase = form.text.slice(from, to).trim()
    if (phrase) setForm({ text: `${form.text.slice(0, from)}[${phrase}]${form.text.slice(to)}` })
  }
  return html`<button type="button" class="quiet" onClick=${mark}>Mark the selected words</button>`
}

export function TaskForm({ task, state, form, result, pictures, actions }) {
  const setForm = (patch) => actions.setForm(patch, task.key)
  const asking = result?.status === 'asking'
  const error = result?.status === 'refused' ? result.error : ''
  const submit = (event) => {
    event.preventDefault()
    actions.submit()
  }
  return html`<form class="ask" onSubmit=${submit} novalidate>
    <h2>${task.title}</h2>
    <p class="hint" id="hint">${task.hint}</p>
    ${task.key === 'guess' && html`<${Turns} ...${{ form, setForm }} />`}
    <label for="text">${task.label}</label>
    <div class="row">
      <input id="text" type="text" autocomplete="off" value=${form.text} placeholder=${task.example} enterkeyhint="send"
        aria-invalid=${Boolean(error)} aria-describedby="error hint" onInput=${(event) => setForm({ text: event.target.value })} />
      <button type="submit" class="go" aria-disabled=${asking}>${asking ? 'Asking …' : task.verb}</button>
    </div>
    <p id="error" class="error" hidden=${!error}>${error}</p>
    ${task.key === 'guess' && html`<${Reply} ...${{ form, setForm }} />`}
    <${Suggestions} ...${{ task, state, form, pictures, actions }} />
    ${task.candidates && html`<${Candidates} ...${{ form, setForm, picture: pictures[0] }} />`}
    <div class="row options">
      ${task.key === 'ground' && html`<${MarkPhrase} ...${{ form, setForm }} />`}
      <${Heads} ...${{ task, form, setForm }} />
      ${!['find', 'ground'].includes(task.key) &&
      html`<label class="check"><input type="checkbox" checked=${form.explain} onChange=${(event) => setForm({ explain: event.target.checked })} />
        <span>Show where it looks</span></label>`}
    </div>
  </form>`
}
