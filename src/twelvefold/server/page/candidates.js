// Which boxes may be pointed at: what the detector found, or the person's own, drawn on the picture or typed.

import { html, useState } from './vendor/preact.js'
import { letter } from './words.js'

const CORNERS = ['left', 'top', 'right', 'bottom']

function Typed({ picture, add }) {
  const [text, setText] = useState('')
  const [error, setError] = useState('')
  const take = () => {
    const box = text.split(/[\s,]+/).filter(Boolean).map(Number)
    const [x1, y1, x2, y2] = box
    if (box.length !== 4 || !box.every(Number.isFinite)) return setError(`Type four numbers, ${CORNERS.join(', ')}: 10, 20, 90, 80.`)
    if (!(x1 < x2 && y1 < y2)) return setError('Right must be more than left, and bottom more than top.')
    if (x1 >= picture.width || y1 >= picture.height || x2 <= 0 || y2 <= 0)
      return setError(`That lies outside the picture, which is ${picture.width} × ${picture.height}.`)
    add(box)
    setText('')
    return setError('')
  }
  return html`<div class="typed">
    <label for="corners">Or type its corners: ${CORNERS.join(', ')}</label>
    <div class="row">
      <input id="corners" type="text" inputmode="numeric" placeholder="10, 20, 90, 80" value=${text} onInput=${(event) => setText(event.target.value)}
        aria-invalid=${Boolean(error)} aria-describedby="corners-error"
        onKeyDown=${(event) => {
          if (event.key !== 'Enter') return
          event.preventDefault()
          take()
        }} />
      <button type="button" onClick=${take}>Add box</button>
    </div>
    <p id="corners-error" class="error" hidden=${!error}>${error}</p>
  </div>`
}

export function Candidates({ form, setForm, picture }) {
  const choose = (own) => () => setForm({ own })
  return html`<fieldset class="choices candidates">
    <legend>It chooses among</legend>
    <label><input type="radio" name="own" checked=${!form.own} onChange=${choose(false)} /><span>what the detector found</span></label>
    <label><input type="radio" name="own" checked=${form.own} onChange=${choose(true)} /><span>my own boxes</span></label>
    ${form.own && picture &&
    html`<div class="own">
      <p class="hint">Draw boxes on the picture with mouse or finger.</p>
      <ul class="chips">
        ${form.boxes.map(
          (box, place) => html`<li key=${box.join()}>
            <button type="button" onClick=${() => setForm({ boxes: form.boxes.filter((other) => other !== box) })}>
              <span class="visually-hidden">Take away </span>${letter(place)}: ${box.map(Math.round).join(', ')}<span aria-hidden="true"> ×</span></button>
          </li>`,
        )}
      </ul>
      <${Typed} picture=${picture} add=${(box) => setForm({ boxes: [...form.boxes, box] })} />
    </div>`}
  </fieldset>`
}
