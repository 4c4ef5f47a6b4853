// A GuessWhat dialogue as a conversation: questions on one side, answers on the other.

import { html, useEffect, useRef } from './vendor/preact.js'

export const REPLIES = ['Yes', 'No', 'N/A']

export function Turns({ form, setForm }) {
  const list = useRef(null)
  useEffect(() => {
    if (list.current) list.current.scrollTop = list.current.scrollHeight
  }, [form.turns.length])
  if (!form.turns.length) return null
  return html`<div class="dialogue">
    <ol ref=${list} aria-label="Dialogue so far" tabindex="0">
      ${form.turns.map(
        ([question, answer], index) => html`<li key=${index}>
          <p class="question"><span class="visually-hidden">Question: </span>${question}</p>
          <p class="reply"><span class="visually-hidden">Answer: </span>${answer}</p>
        </li>`,
      )}
    </ol>
    <p class="row">
      <button type="button" class="quiet" onClick=${() => setForm({ turns: form.turns.slice(0, -1) })}>Remove the last turn</button>
      <button type="button" class="quiet" onClick=${() => setForm({ turns: [] })}>Start over</button>
    </p>
  </div>`
}

export function Reply({ form, setForm }) {
  return html`<fieldset class="choices">
    <legend>Your answer</legend>
    ${REPLIES.map(
      (reply) => html`<label key=${reply}>
        <input type="radio" name="reply" value=${reply} checked=${form.answer === reply} onChange=${() => setForm({ answer: reply })} />
        <span>${reply.toLowerCase()}</span>
      </label>`,
    )}
  </fieldset>`
}
