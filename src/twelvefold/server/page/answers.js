// Ranked answers, best first, each with a bar as long as its probability. Pointing at one lights up its box.

import { html, useEffect, useRef } from './vendor/preact.js'
import { nameOf, percent, whole } from './words.js'

function Row({ ranked, place, reply, pictures, hot, point }) {
  const boxed = Boolean(ranked.box_px)
  const name = nameOf(ranked, place, reply, pictures)
  const best = !place || (boxed && ranked.name) // of phrases, each has its best box
  const inner = html`<span class="name">${name}</span><span class="share">${percent(ranked.probability)}</span>
    <span class="bar" aria-hidden="true"><span style=${{ width: `${100 * ranked.probability}%` }}></span></span>`
  return html`<li class=${`answer ${best ? 'best' : ''} ${hot ? 'hot' : ''}`} onMouseEnter=${() => point(boxed ? place : null)}
    onMouseLeave=${() => point(null)}>
    ${boxed
      ? html`<button type="button" onFocus=${() => point(place)} onBlur=${() => point(null)} onClick=${() => point(place)}>
          ${inner}<span class="visually-hidden">, from left, top to right, bottom: ${ranked.box_px.map(whole).join(', ')}</span></button>`
      : html`<div>${inner}</div>`}
  </li>`
}

const LEAST_SEEN = 100 // pixels: the best answer and its bar

// What the files of a sample say of the answer.
function Truth({ truth }) {
  if (truth.right) return html`<p class="truth right">Right, the sample’s files say the same.</p>`
  if (truth.box) return html`<p class="truth wrong">The sample’s files mean another thing, boxed in green.</p>`
  return html`<p class="truth wrong">The sample’s files say <strong>${truth.text}</strong>.</p>`
}

export const Waiting = () => html`<div class="waiting" aria-hidden="true"><span></span><span></span><span></span></div>`

export function Answers({ task, result, pictures, hot, point, truth }) {
  const section = useRef(null)
  // On a phone the answer may come below what can be seen: bring it into sight, once, as little as need be.
  useEffect(() => {
    const top = section.current?.getBoundingClientRect().top
    if (top > innerHeight - LEAST_SEEN) section.current.scrollIntoView({ block: 'nearest' })
  }, [result?.reply])
  if (result?.status !== 'asking' && result?.status !== 'answered') return null
  if (result.status === 'asking') return html`<${Waiting} />`
  const { reply } = result
  const { ranked, notes = [], seconds } = reply
  return html`<section class="answers" aria-label="Answers" ref=${section}>
    ${ranked.length === 0 && html`<p>No answer.</p>`}
    <ol hidden=${task.key === 'find'}>
      ${task.key !== 'find' && ranked.map((one, place) => html`<${Row} key=${place} ranked=${one} ...${{ place, reply, pictures, point, hot: hot === place }} />`)}
    </ol>
    ${notes.map((note) => html`<p class="note">${note}</p>`)}
    ${truth && html`<${Truth} truth=${truth} />`}
    ${seconds && html`<p class="timing">${timing(seconds)}</p>`}
  </section>`
}

const milliseconds = (value) => `${whole(1000 * value)} ms`

const timing = ({ detect, answer }) =>
  detect > 0.0005 ? `Looking ${milliseconds(detect)}, answering ${milliseconds(answer)}` : `Answered in ${milliseconds(answer)}`
