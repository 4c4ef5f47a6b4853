// An image with boxes drawn on it. Boxes are in pixels of the image and drawn in percent of its size, so that they fit
// at any size on the screen.

import { html, useEffect, useRef, useState } from './vendor/preact.js'
import { boxName, letterOf, percent } from './format.js'

const MIN_PROBABILITY = 0.01 // boxes with a smaller probability are not drawn
const MIN_SIZE = 4 // pixels; a smaller box is a click

const boxStyle = ([x1, y1, x2, y2], { width, height }) => ({
  left: `${(100 * x1) / width}%`,
  top: `${(100 * y1) / height}%`,
  width: `${(100 * (x2 - x1)) / width}%`,
  height: `${(100 * (y2 - y1)) / height}%`,
})

function Mark({ mark, image, hot, point }) {
  const low = mark.box[1] < 0.12 * image.height
  return html`<div class=${`mark ${mark.type ?? ''} ${hot ? 'hot' : ''}`} data-mark=${mark.index} data-box=${JSON.stringify(mark.box)}
    style=${boxStyle(mark.box, image)}
    onMouseEnter=${() => point?.(mark.index)} onMouseLeave=${() => point?.(null)}>
    ${mark.label && html`<span class=${low ? 'inside' : ''}>${mark.label}</span>`}
  </div>`
}

// Attention weights, 0 to 1, as light over the regions.
const Glow = ({ glow, image }) =>
  glow.map(({ box, weight, chosen, choose }, index) => html`<div key=${index} class=${`glow ${chosen ? 'chosen' : ''}`}
    style=${{ ...boxStyle(box, image), '--weight': weight }} onClick=${choose}></div>`)

// Draw a box with the pointer. In candidates.js it can be typed instead.
function useBoxDrawing(image, onBox) {
  const [draft, setDraft] = useState(null)
  const from = useRef(null)
  const at = (event) => {
    const frame = event.currentTarget.getBoundingClientRect()
    const share = (value, low, size) => Math.min(1, Math.max(0, (value - low) / size))
    return [image.width * share(event.clientX, frame.left, frame.width), image.height * share(event.clientY, frame.top, frame.height)]
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
      if (box[2] - box[0] >= MIN_SIZE && box[3] - box[1] >= MIN_SIZE) onBox(box)
    },
    onPointerCancel: () => {
      from.current = null
      setDraft(null)
    },
  }
  return { draft, handlers }
}

const ZOOMS = [1, 1.5, 2, 3, 4]

function Zoom({ zoom, setZoom, name }) {
  const index = ZOOMS.indexOf(zoom)
  const step = (by) => () => setZoom(ZOOMS[index + by])
  return html`<span class="zoom" role="group" aria-label=${`Zoom of ${name}`}>
    <button type="button" class="quiet" aria-label="Zoom out" disabled=${index === 0} onClick=${step(-1)}>−</button>
    <span class="level" aria-live="polite">${Math.round(100 * zoom)} %</span>
    <button type="button" class="quiet" aria-label="Zoom in" disabled=${index === ZOOMS.length - 1} onClick=${step(1)}>+</button>
  </span>`
}

// marks: [{box, index, label, type}]; type: 'best', 'other', 'region', 'candidate', 'correct'. glow: see attention.js.
export function ImageView({ image, caption, marks = [], glow = [], hot = null, point, onBox }) {
  const { draft, handlers } = useBoxDrawing(image, onBox)
  const [broken, setBroken] = useState(false)
  const [zoom, setZoom] = useState(1)
  const shape = image.width ? { aspectRatio: `${image.width} / ${image.height}`, '--ratio': image.width / image.height } : {}
  const ready = image.status === 'ready'
  const zoomed = zoom > 1
  const view = useRef(null)
  // Zooming shows the middle of the best box, or of the image.
  useEffect(() => {
    const [x1, y1, x2, y2] = marks.find((mark) => mark.type === 'best')?.box ?? [0, 0, image.width, image.height]
    const middle = (low, high, size, total, part) => ((low + high) / 2 / size) * total - part / 2
    const { scrollWidth, scrollHeight, clientWidth, clientHeight } = view.current
    view.current.scrollTo(middle(x1, x2, image.width, scrollWidth, clientWidth), middle(y1, y2, image.height, scrollHeight, clientHeight))
  }, [zoom])
  return html`<figure class="stage">
    <div ref=${view} class=${`window ${zoomed ? 'zoomed' : ''}`} style=${shape} tabindex=${zoomed ? 0 : undefined} role=${zoomed ? 'region' : undefined}
      aria-label=${zoomed ? `${image.name}, enlarged: scroll with the arrow keys` : undefined}>
    <div class=${`frame ${onBox ? 'drawing' : ''}`} style=${{ ...shape, '--zoom': zoom }} ...${handlers}>
      ${broken
        ? html`<p class="nopreview">${image.status === 'refused' ? 'This file could not be read.' : 'Your browser cannot show this format, but the model can read it.'}</p>`
        : html`<img src=${image.url} alt=${image.name} draggable=${false} onError=${() => setBroken(true)} />`}
      ${ready && html`<${Glow} glow=${glow} image=${image} />`}
      ${ready && marks.map((mark) => html`<${Mark} key=${`${mark.type} ${mark.index}`} ...${{ mark, image, point, hot: hot === mark.index }} />`)}
      ${draft && html`<div class="mark candidate" style=${boxStyle(draft, image)}></div>`}
      ${image.status === 'detecting' && html`<div class="veil"><span class="spinner" aria-hidden="true"></span> Detecting …</div>`}
    </div>
    </div>
    <figcaption><span>${caption ?? image.name}${ready ? ` · ${image.width} × ${image.height} · ${image.regions.length} regions` : ''}</span>
      ${ready && !broken && html`<${Zoom} ...${{ zoom, setZoom, name: image.name }} />`}</figcaption>
  </figure>`
}

// The boxes of an answer: the likely ones and the highlighted one; the best last, so that it is on top.
export function answerMarks(result, hot) {
  if (result?.status !== 'answered') return []
  return result.reply.ranked
    .map((ranked, index) => ({
      box: ranked.box_px, index, type: index && !ranked.name ? 'other' : 'best',
      label: ranked.name || `${boxName(ranked, index, result.reply)}${index ? '' : ` · ${percent(ranked.probability)}`}`,
    }))
    .filter(({ box, index }) => box && (!index || index === hot || result.reply.ranked[index].probability >= MIN_PROBABILITY))
    .reverse()
}

export const regionMarks = (image) =>
  image.regions.map((region, index) => ({ box: region.box_px, index: `region ${index}`, label: region.kind, type: 'region' }))

export const candidateMarks = (boxes) =>
  boxes.map((box, index) => ({ box, index: `candidate ${index}`, label: letterOf(index), type: 'candidate' }))
