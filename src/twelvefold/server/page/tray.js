// The tray: the pictures at hand, where more are dropped, pasted, chosen, or taken from the samples.

import { html, useEffect, useRef, useState } from './vendor/preact.js'
import { taskOf } from './tasks.js'

const isPicture = (file) => file.type.startsWith('image/') || !file.type

function Tile({ picture, state, actions }) {
  const two = taskOf(state.task).pictures === 2
  const all = taskOf(state.task).pictures === Infinity
  const role = picture.id === state.first ? (two ? 'Left' : 'Shown') : two && picture.id === state.second ? 'Right' : ''
  const note = { looking: 'being looked at', refused: 'could not be read' }[picture.status] ?? ''
  return html`<li class=${`tile ${picture.status} ${role && !all ? 'chosen' : ''}`}>
    <button type="button" class="pick" aria-pressed=${Boolean(role)} onClick=${() => actions.choose(picture.id)}
      aria-label=${[picture.name, note, role && `shown${two ? ` on the ${role.toLowerCase()}` : ''}`].filter(Boolean).join(', ')}>
      ${picture.status === 'refused' ? html`<span class="broken" aria-hidden="true">?</span>` : html`<img src=${picture.url} alt="" onError=${(event) => (event.target.hidden = true)} />`}
      ${two && role && html`<span class="badge">${role}</span>`}
      ${picture.status === 'looking' && html`<span class="spinner" aria-hidden="true"></span>`}
    </button>
    <button type="button" class="remove" aria-label=${`Take ${picture.name} away`} onClick=${() => actions.remove(picture.id)}>×</button>
  </li>`
}

function Samples({ state, actions }) {
  const there = new Set(state.pictures.map((picture) => picture.sample?.name))
  const left = state.samples.filter((sample) => !there.has(sample.name))
  if (!left.length) return null
  return html`<div class="samples">
    <h3>Samples</h3>
    <ul>
      ${left.map(
        (sample) => html`<li key=${sample.name}>
          <button type="button" class="pick" onClick=${() => actions.addSample(sample)} aria-label=${`Sample ${sample.name}`}><img src=${sample.url} alt="" loading="lazy" /></button>
        </li>`,
      )}
      <li><button type="button" class="pick all" onClick=${() => actions.addSamples(state.samples)}>Take all</button></li>
    </ul>
  </div>`
}

export function Tray({ state, actions }) {
  const input = useRef(null)
  const refused = state.pictures.filter((picture) => picture.status === 'refused')
  return html`<section class="tray" aria-label="Pictures">
    <ul class="tiles">
      ${state.pictures.map((picture) => html`<${Tile} key=${picture.id} ...${{ picture, state, actions }} />`)}
      <li class="tile add">
        <button type="button" class="pick" onClick=${() => input.current.click()}>
          <span aria-hidden="true">+</span><span>Add pictures</span>
        </button>
        <input ref=${input} type="file" accept="image/*" multiple hidden aria-label="Picture files"
          onChange=${(event) => {
            actions.addFiles(event.target.files)
            event.target.value = ''
          }} />
      </li>
    </ul>
    <p class="hint">Drop pictures anywhere, paste one, or choose files. They go to this server and nowhere else.</p>
    ${refused.map((picture) => html`<p key=${picture.id} class="error"><strong>${picture.name}</strong>: ${picture.error}</p>`)}
    <${Samples} ...${{ state, actions }} />
  </section>`
}

// Pictures dropped anywhere on the page, or pasted into it.
export function DropZone({ actions }) {
  const [over, setOver] = useState(false)
  useEffect(() => {
    const files = (event) => [...(event.dataTransfer ?? event.clipboardData).files]
    const holdsFiles = (event) => event.dataTransfer?.types.includes('Files')
    const drag = (event) => {
      if (!holdsFiles(event)) return
      event.preventDefault()
      setOver(true)
    }
    const leave = (event) => !event.relatedTarget && setOver(false)
    const drop = (event) => {
      if (!holdsFiles(event)) return
      event.preventDefault()
      setOver(false)
      actions.addFiles(files(event))
    }
    const paste = (event) => {
      const pasted = files(event).filter(isPicture)
      if (pasted.length) actions.addFiles(pasted)
    }
    const events = { dragenter: drag, dragover: drag, dragleave: leave, drop, paste }
    for (const [name, listener] of Object.entries(events)) window.addEventListener(name, listener)
    return () => {
      for (const [name, listener] of Object.entries(events)) window.removeEventListener(name, listener)
    }
  }, [])
  return over ? html`<div class="drop" aria-hidden="true"><p>Drop to add</p></div>` : null
}
