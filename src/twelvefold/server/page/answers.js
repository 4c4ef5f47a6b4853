// Ranked answers, best first, with probabilities as bars. Pointing at an answer highlights its box.

import { html, useEffect, useRef } from './vendor/preact.js'
import { nameOf, percent, whole } from './format.js'
import { isSearch } from './tasks.js'

function Row({ ranked, index, reply, images, hot, point }) {
  const boxed = Boolean(ranked.box_px)
  const name = nameOf(ranked, index, reply, images)
  const best = !index || (boxed && ranked.name) // after `ground`, each phrase has a best box
  const content = html`<span class="name">${name}</span><span class="share">${percent(ranked.probability)}</span>
    <span class="bar" aria-hidden="true"><span style=${{ width: `${100 * ranked.probability}%` }}></span></span>`
  return html`<li class=${`answer ${best ? 'best' : ''} ${hot ? 'hot' : ''}`} onMouseEnter=${() => point(boxed ? index : null)}
    onMouseLeave=${() => point(null)}>
    ${boxed
      ? html`<button type="button" onFocus=${() => point(index)} onBlur=${() => point(null)} onClick=${() => point(index)}>
          ${content}<span class="visually-hidden">, from left, top to right, bottom: ${ranked.box_px.map(whole).join(', ')}</span></button>`
      : html`<div>${content}</div>`}
  </li>`
}

const INDEPENDENT = 'Each answer is judged separately: its percentage says how likely this answer is to be right, so together they may give more or less than 100 %.'

const ONE_COLUMN = '(max-width: 820px)' // as in page.css
const TOUCH = '(pointer: coarse)' // its keyboard covers half of the screen

// On a phone, image, question and answers are below each other: scroll to the answer once. Boxes are drawn on the image,
// and a search ranks the images, which are above the question.
function showAnswer(task, section) {
  if (!section || !matchMedia(ONE_COLUMN).matches) return
  if (matchMedia(TOUCH).matches) document.activeElement?.blur()
  const { top, bottom } = section.getBoundingClientRect()
  if (task.boxes || isSearch(task)) document.querySelector('.images').scrollIntoView({ block: 'start' })
  else if (top < 0 || bottom > innerHeight) section.scrollIntoView({ block: bottom - top < innerHeight ? 'end' : 'start' })
}

// Whether the answer agrees with the sample's ground truth.
function GroundTruth({ groundTruth }) {
  if (groundTruth.right) return html`<p class="ground-truth right">Correct: the ground truth of this sample is the same.</p>`
  if (groundTruth.box) return html`<p class="ground-truth wrong">Wrong: the correct box is drawn in green.</p>`
  return html`<p class="ground-truth wrong">Wrong: the correct answer is <strong>${groundTruth.text}</strong>.</p>`
}

export const Waiting = () => html`<div class="waiting" aria-hidden="true"><span></span><span></span><span></span></div>`

export function Answers({ task, result, images, hot, point, groundTruth }) {
  const section = useRef(null)
  useEffect(() => result?.reply && showAnswer(task, section.current), [result?.reply])
  if (result?.status !== 'pending' && result?.status !== 'answered') return null
  if (result.status === 'pending') return html`<${Waiting} />`
  const { reply } = result
  const { ranked, notes = [], seconds } = reply
  return html`<section class="answers" aria-label="Answers" ref=${section}>
    ${ranked.length === 0 && html`<p>No answer.</p>`}
    <ol hidden=${isSearch(task)}>
      ${!isSearch(task) && ranked.map((rank, index) => html`<${Row} key=${index} ranked=${rank} ...${{ index, reply, images, point, hot: hot === index }} />`)}
    </ol>
    ${notes.map((note) => html`<p class="note">${note}</p>`)}
    ${task.independent && ranked.length > 1 && html`<p class="hint">${INDEPENDENT}</p>`}
    ${groundTruth && html`<${GroundTruth} groundTruth=${groundTruth} />`}
    ${seconds && html`<p class="timing">${timing(seconds)}</p>`}
  </section>`
}

const milliseconds = (value) => `${whole(1000 * value)} ms`

const timing = ({ detect, answer }) =>
  detect > 0.0005 ? `Detection ${milliseconds(detect)}, answer ${milliseconds(answer)}` : `Answer in ${milliseconds(answer)}`
