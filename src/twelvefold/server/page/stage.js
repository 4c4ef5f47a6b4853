// The stage: a picture with whatever is drawn on it. Boxes are in pixels of the picture, so all that is drawn sits in
// shares of its width and height, at any size on screen.

import { html, useRef, useState } from './vendor/preact.js'
import { boxName, letter, percent } from './words.js'

const CHANCE = 0.01 // probability below which a box would only clutter the picture
const LEAST = 4 // pixels of the picture: a box smaller than this was a click

const place = ([x1, y1, x2, y2], { width, height }) => ({
  left: `${(100 * x1) / width}%`,
  top: `${(100 * y1) / height}%`,
  width: `${(100 * (x2 - x1)) / width}%`,
  height: `${(100 * (y2 - y1)) / height}%`,
})

function Mark({ mark, picture, hot, point }) {
  const low = mark.box[1] < 0.12 * picture.height
  return html`<div class=${`mark ${mark.look ?? ''} ${hot ? 'hot' : ''}`} data-mark=${mark.index} data-box=${JSON.stringify(mark.box)}
    style=${place(mark.box, picture)}
    onMouseEnter=${() => point?.(mark.index)} onMouseLeave=${() => point?.(null)}>
    ${mark.label && html`<span class=${low ? 'inside' : ''}>${mark.label}</span>`}
  </div>`
}

// Where attention lies: weight 1 is the most looked at.
const Glow = ({ glow, picture }) =>
  glow.map(({ box, weight, chosen, choose }, index) => html`<div key=${index} class=${`glow ${chosen ? 'chosen' : ''}`}
    style=${{ ...place(box, picture), '--weight': weight }} onClick=${choose}></div>`)

// The pointer's way to draw a box; the keyboard's is in candidates.js.
function useDrawing(picture, onBox) {
  const [draft, setDraft] = useState(null)
  const from = useRef(null)
  const at = (event) => {
    const frame = event.currentTarget.getBoundingClientRect()
    const share = (value, low, size) => Math.min(1, Math.max(0, (value - low) / size))
    return [picture.width * share(event.clientX, frame.left, frame.width), picture.height * share(event.clientY, frame.top, frame.height)]
  }
  const boxTo = ([x, y]) => {
    const [x0, y0] = from.current
    return [Math.min(x0, x), Math.min(y0, y), Math.max(x0, x), Math.max(y0, y)].map(Math.round)
  }
  if (!onBox) return { draft: null, handlers: {} }
  const handlers = {
    onPointerDown: (event) => {
      event.preventDefault()
      event.currentTarget.setPointerCapture(event.pointerId)
      from.current = at(event)
    },
    onPointerMove: (event) => from.current && setDraft(boxTo(at(event))),
    onPointerUp: (event) => {
      if (!from.current) return
      const box = boxTo(at(event))
      from.current = null
      setDraft(null)
      if (box[2] - box[0] >= LEAST && box[3] - box[1] >= LEAST) onBox(box)
    },
    onPointerCancel: () => {
      from.current = null
      setDraft(null)
    },
  }
  return { draft, handlers }
}

// marks: [{box, index, label, look}]; look: 'best', 'other', 'region', 'given', 'meant'. glow: see attention.js.
export function Stage({ picture, caption, marks = [], glow = [], hot = null, point, onBox }) {
  const { draft, handlers } = useDrawing(picture, onBox)
  const [broken, setBroken] = useState(false)
  const shape = picture.width ? { aspectRatio: `${picture.width} / ${picture.height}`, '--ratio': picture.width / picture.height } : {}
  const ready = picture.status === 'ready'
  return html`<figure class="stage">
    <div class=${`frame ${onBox ? 'drawing' : ''}`} style=${shape} ...${handlers}>
      ${broken
        ? html`<p class="nopreview">${picture.status === 'refused' ? 'This file could not be read.' : 'Your browser can’t show this kind of picture. The model can read it.'}</p>`
        : html`<img src=${picture.url} alt=${picture.name} draggable=${false} onError=${() => setBroken(true)} />`}
      ${ready && html`<${Glow} glow=${glow} picture=${picture} />`}
      ${ready && marks.map((mark) => html`<${Mark} key=${`${mark.look} ${mark.index}`} ...${{ mark, picture, point, hot: hot === mark.index }} />`)}
      ${draft && html`<div class="mark given" style=${place(draft, picture)}></div>`}
      ${picture.status === 'looking' && html`<div class="veil"><span class="spinner" aria-hidden="true"></span> Looking …</div>`}
    </div>
    <figcaption>${caption ?? picture.name}${ready ? ` · ${picture.width} × ${picture.height} · ${picture.regions.length} regions` : ''}</figcaption>
  </figure>`
}

// What is drawn for an answer: the boxes that have a chance and the one pointed at, the best last so that it lies on top.
export function answerMarks(result, hot) {
  if (result?.status !== 'answered') return []
  return result.reply.ranked
    .map((ranked, index) => ({
      box: ranked.box_px, index, look: index && !ranked.name ? 'other' : 'best',
      label: ranked.name || `${boxName(ranked, index, result.reply)}${index ? '' : ` · ${percent(ranked.probability)}`}`,
    }))
    .filter(({ box, index }) => box && (!index || index === hot || result.reply.ranked[index].probability >= CHANCE))
    .reverse()
}

export const regionMarks = (picture) =>
  picture.regions.map((region, index) => ({ box: region.box_px, index: `region ${index}`, label: region.kind, look: 'region' }))

export const givenMarks = (boxes) =>
  boxes.map((box, index) => ({ box, index: `given ${index}`, label: letter(index), look: 'given' }))
