// The candidate boxes: the detected regions, or boxes that the user draws on the image or types.

import { html, useState } from './vendor/preact.js'
import { letterOf } from './format.js'

const CORNERS = ['left', 'top', 'right', 'bottom']

function TypedBox({ image, add }) {
  const [text, setText] = useState('')
  const [error, setError] = useState('')
  const addTyped = () => {
    const box = text.split(/[\s,]+/).filter(Boolean).map(Number)
    const [x1, y1, x2, y2] = box
    if (box.length !== 4 || !box.every(Number.isFinite)) return setError(`Type four numbers, ${CORNERS.join(', ')}: 10, 20, 90, 80.`)
    if (!(x1 < x2 && y1 < y2)) return setError('Right must be more than left, and bottom more than top.')
    if (x1 >= image.width || y1 >= image.height || x2 <= 0 || y2 <= 0)
      return setError(`The box is outside the image, which is ${image.width} × ${image.height}.`)
    add(box)
    setText('')
    return setError('')
  }
  return html`<div class="typed">
    <label for="corners">Or type the corners: ${CORNERS.join(', ')}</label>
    <div class="row">
      <input id="corners" type="text" inputmode="numeric" placeholder="10, 20, 90, 80" value=${text} onInput=${(event) => setText(event.target.value)}
        aria-invalid=${Boolean(error)} aria-describedby="corners-error"
        onKeyDown=${(event) => {
          if (event.key !== 'Enter') return
          event.preventDefault()
          addTyped()
        }} />
      <button type="button" onClick=${addTyped}>Add box</button>
    </div>
    <p id="corners-error" class="error" hidden=${!error}>${error}</p>
  </div>`
}

export function Candidates({ form, setForm, image }) {
  const choose = (useOwnBoxes) => () => setForm({ useOwnBoxes })
  return html`<fieldset class="choices candidates">
    <legend>Candidates</legend>
    <label><input type="radio" name="own" checked=${!form.useOwnBoxes} onChange=${choose(false)} /><span>the detected regions</span></label>
    <label><input type="radio" name="own" checked=${form.useOwnBoxes} onChange=${choose(true)} /><span>my own boxes</span></label>
    ${form.useOwnBoxes && image &&
    html`<div class="own">
      <p class="hint">Draw boxes on the image with the mouse or a finger.</p>
      <ul class="chips">
        ${form.boxes.map(
          (box, index) => html`<li key=${box.join()}>
            <button type="button" onClick=${() => setForm({ boxes: form.boxes.filter((other) => other !== box) })}>
              <span class="visually-hidden">Remove </span>${letterOf(index)}: ${box.map(Math.round).join(', ')}<span aria-hidden="true"> ×</span></button>
          </li>`,
        )}
      </ul>
      <${TypedBox} image=${image} add=${(box) => setForm({ boxes: [...form.boxes, box] })} />
    </div>`}
  </fieldset>`
}
