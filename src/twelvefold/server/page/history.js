// The answered questions of this page. Selecting one shows its images, text and answer again.

import { html } from './vendor/preact.js'
import { isSearch, taskOf } from './tasks.js'
import { nameOf, percent, rankedImage } from './format.js'

function questionText(task, form) {
  if (task.input !== 'dialogue') return form.text
  return form.turns.map(([question, answer]) => `${question} ${answer.toLowerCase()}`).join(' · ')
}

export function History({ state, actions }) {
  if (!state.history.length) return null
  return html`<section class="history" aria-label="History">
    <h2>History</h2>
    <ol>
      ${state.history.map((entry) => {
        const task = taskOf(state, entry.task)
        const images = entry.images.map((id) => state.images.find((image) => image.id === id)).filter(Boolean)
        const [best] = entry.result.reply.ranked
        const foundImage = best && isSearch(task) ? rankedImage(best, images) : null
        const name = best ? (foundImage?.name ?? nameOf(best, 0, entry.result.reply, images)) : 'no answer'
        return html`<li key=${entry.id}>
          <button type="button" onClick=${() => actions.restore(entry)}>
            <img src=${(foundImage ?? images[0])?.url} alt="" onError=${(event) => (event.target.hidden = true)} />
            <span class="question-text"><span class="task-name">${task.tab}</span>${questionText(task, entry.form)}</span>
            <span class="output">${name}${best && ` · ${percent(best.probability)}`}</span>
          </button>
        </li>`
      })}
    </ol>
  </section>`
}
