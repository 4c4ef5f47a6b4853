// One picture asked with several tasks at once: a row for each task, its answer beneath, its box on the picture.

import { html } from './vendor/preact.js'
import { suggestionsOf } from './suggestions.js'
import { SEVERAL } from './tasks.js'
import { nameOf, percent } from './words.js'

const partOf = (state, task, shown) => {
  const part = state.results[`several/${task.key}`]
  return part?.shown === shown ? part : null
}

function Came({ part, pictures }) {
  if (!part) return null
  if (part.status === 'asking') return html`<p class="came">…</p>`
  if (part.status === 'refused') return html`<p class="error">${part.error}</p>`
  const [best] = part.reply.ranked
  if (!best) return html`<p class="came">No answer. ${part.reply.notes?.join(' ')}</p>`
  return html`<p class="came"><strong>${nameOf(best, 0, part.reply, pictures)}</strong> <span>${percent(best.probability)}</span>
    <span class="bar" aria-hidden="true"><span style=${{ width: `${100 * best.probability}%` }}></span></span></p>`
}

export function Several({ task, state, form, result, pictures, shown, actions }) {
  const error = result?.status === 'refused' ? result.error : ''
  const fill = () => {
    const suggested = (row) => suggestionsOf(row, pictures, state, {})[0]?.form.text ?? ''
    actions.setForm(Object.fromEntries(SEVERAL.map((row) => [row.key, suggested(row)])))
  }
  const submit = (event) => {
    event.preventDefault()
    actions.submit()
  }
  return html`<form class="ask several" onSubmit=${submit} novalidate>
    <h2>${task.title}</h2>
    <p class="hint">${task.hint}</p>
    ${SEVERAL.map((row) => html`<div key=${row.key} class="several-row">
      <label for=${`several-${row.key}`}>${row.tab} <span class="dataset">${row.heads[0][1]}</span></label>
      <input id=${`several-${row.key}`} type="text" autocomplete="off" value=${form[row.key] ?? ''} placeholder=${row.example}
        onInput=${(event) => actions.setForm({ [row.key]: event.target.value }, 'several')} />
      <${Came} part=${partOf(state, row, shown)} pictures=${pictures} />
    </div>`)}
    <p id="error" class="error" hidden=${!error}>${error}</p>
    <div class="row">
      <button type="submit" class="go">${task.verb}</button>
      ${pictures[0]?.sample && html`<button type="button" class="quiet" onClick=${fill}>Fill with the sample’s own</button>`}
    </div>
  </form>`
}

// The best box of each task that points, named after its task.
export const severalMarks = (state, shown) =>
  SEVERAL.flatMap((task) => {
    const best = partOf(state, task, shown)?.reply?.ranked[0]
    return best?.box_px ? [{ box: best.box_px, index: task.key, look: 'best', label: task.tab }] : []
  })
