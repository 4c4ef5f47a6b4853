// Ask several tasks about one image: a row and an answer for each task, with boxes on the image.

import { html } from './vendor/preact.js'
import { suggestionsOf } from './suggestions.js'
import { rowsOf } from './tasks.js'
import { nameOf, percent } from './format.js'

const resultFor = (state, task, imageIds) => {
  const result = state.results[`several/${task.key}`]
  return result?.imageIds === imageIds ? result : null
}

function TaskResult({ result, images }) {
  if (!result) return null
  if (result.status === 'pending') return html`<p class="output">…</p>`
  if (result.status === 'refused') return html`<p class="error">${result.error}</p>`
  const [best] = result.reply.ranked
  if (!best) return html`<p class="output">No answer. ${result.reply.notes?.join(' ')}</p>`
  return html`<p class="output"><strong>${nameOf(best, 0, result.reply, images)}</strong> <span>${percent(best.probability)}</span>
    <span class="bar" aria-hidden="true"><span style=${{ width: `${100 * best.probability}%` }}></span></span></p>`
}

export function MultiTask({ task, state, form, result, images, imageIds, actions }) {
  const rows = rowsOf(state.tabs)
  const error = result?.status === 'refused' ? result.error : ''
  const fill = () => {
    const suggested = (row) => suggestionsOf(row, images, state, {})[0]?.form.text ?? ''
    actions.setForm(Object.fromEntries(rows.map((row) => [row.key, suggested(row)])))
  }
  const submit = (event) => {
    event.preventDefault()
    actions.submit()
  }
  return html`<form class="ask several" onSubmit=${submit} novalidate>
    <h2>${task.title}</h2>
    <p class="hint">${task.hint}</p>
    ${rows.map((row) => html`<div key=${row.key} class="several-row">
      <label for=${`several-${row.key}`}>${row.tab} <span class="dataset">${row.tasks[0].title}</span></label>
      <input id=${`several-${row.key}`} type="text" autocomplete="off" value=${form[row.key] ?? ''} placeholder=${row.example}
        onInput=${(event) => actions.setForm({ [row.key]: event.target.value }, 'several')} />
      <${TaskResult} result=${resultFor(state, row, imageIds)} images=${images} />
    </div>`)}
    <p id="error" class="error" hidden=${!error}>${error}</p>
    <div class="row">
      <button type="submit" class="go">${task.verb}</button>
      ${images[0]?.sample && html`<button type="button" class="quiet" onClick=${fill}>Fill in the sample’s questions</button>`}
    </div>
  </form>`
}

// The best box of each task that returns boxes, labeled with the task.
export const multiTaskMarks = (state, imageIds) =>
  rowsOf(state.tabs).flatMap((task) => {
    const best = resultFor(state, task, imageIds)?.reply?.ranked[0]
    return best?.box_px ? [{ box: best.box_px, index: task.key, type: 'best', label: task.tab }] : []
  })
