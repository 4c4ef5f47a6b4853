// What was asked so far, kept while the page is open. Choosing one brings back picture, words and answer.

import { html } from './vendor/preact.js'
import { taskOf } from './tasks.js'
import { nameOf, percent, pictureFor } from './words.js'

function saidOf(task, form) {
  if (task.key !== 'guess') return form.text
  return form.turns.map(([question, answer]) => `${question} ${answer.toLowerCase()}`).join(' · ')
}

export function History({ state, actions }) {
  if (!state.past.length) return null
  return html`<section class="history" aria-label="History">
    <h2>Asked before</h2>
    <ol>
      ${state.past.map((entry) => {
        const task = taskOf(entry.task)
        const pictures = entry.pictures.map((id) => state.pictures.find((picture) => picture.id === id)).filter(Boolean)
        const [best] = entry.result.reply.ranked
        const found = best && task.key === 'find' ? pictureFor(best, pictures) : null
        const name = best ? (found?.name ?? nameOf(best, 0, entry.result.reply, pictures)) : 'no answer'
        return html`<li key=${entry.id}>
          <button type="button" onClick=${() => actions.comeBack(entry)}>
            <img src=${(found ?? pictures[0])?.url} alt="" />
            <span class="what"><span class="kind">${task.tab}</span>${saidOf(task, entry.form)}</span>
            <span class="came">${name}${best && ` · ${percent(best.probability)}`}</span>
          </button>
        </li>`
      })}
    </ol>
  </section>`
}
