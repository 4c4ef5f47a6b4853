// The tray of images, with ways to add more: drop, paste, select files, or take samples.

import { html, useEffect, useRef, useState } from './vendor/preact.js'
import { isSearch, taskOf } from './tasks.js'

const isImage = (file) => file.type.startsWith('image/') || !file.type

function Tile({ image, state, actions }) {
  const two = taskOf(state).images === 2
  const all = taskOf(state).images > 2
  const role = image.id === state.first ? (two ? 'Left' : 'Shown') : two && image.id === state.second ? 'Right' : ''
  const note = { detecting: 'detecting regions', refused: 'could not be read' }[image.status] ?? ''
  return html`<li class=${`tile ${image.status} ${role && !all ? 'chosen' : ''}`}>
    <button type="button" class="pick" aria-pressed=${Boolean(role)} onClick=${() => actions.choose(image.id)}
      aria-label=${[image.name, note, role && `shown${two ? ` on the ${role.toLowerCase()}` : ''}`].filter(Boolean).join(', ')}>
      ${image.status === 'refused' ? html`<span class="broken" aria-hidden="true">?</span>` : html`<img src=${image.url} alt="" onError=${(event) => (event.target.hidden = true)} />`}
      ${two && role && html`<span class="badge">${role}</span>`}
      ${image.status === 'detecting' && html`<span class="spinner" aria-hidden="true"></span>`}
    </button>
    <button type="button" class="remove" aria-label=${`Remove ${image.name}`} onClick=${() => actions.remove(image.id)}>×</button>
  </li>`
}

function Samples({ state, actions }) {
  const present = new Set(state.images.map((image) => image.sample?.name))
  const others = state.samples.filter((sample) => !present.has(sample.name))
  if (!others.length) return null
  return html`<div class="samples">
    <h3>Samples (drawn images)</h3>
    <ul>
      ${others.map(
        (sample) => html`<li key=${sample.name}>
          <button type="button" class="pick" onClick=${() => actions.addSample(sample)} aria-label=${`Sample ${sample.name}`}><img src=${sample.url} alt="" loading="lazy" /></button>
        </li>`,
      )}
      <li><button type="button" class="pick all" onClick=${() => actions.addSamples(state.samples)}>Add all</button></li>
    </ul>
  </div>`
}

export function ImageTray({ state, actions }) {
  const input = useRef(null)
  const search = isSearch(taskOf(state))
  const most = state.model.limits.max_search_images
  const refused = state.images.filter((image) => image.status === 'refused')
  return html`<section class="tray" aria-label="Images">
    <ul class="tiles">
      ${state.images.map((image) => html`<${Tile} key=${image.id} ...${{ image, state, actions }} />`)}
      <li class="tile add">
        <button type="button" class="pick" onClick=${() => input.current.click()}>
          <span aria-hidden="true">+</span><span>Add images</span>
        </button>
        <input ref=${input} type="file" accept="image/*,.heic,.heif,.hif" multiple hidden aria-label="Image files"
          onChange=${(event) => {
            actions.addFiles(event.target.files)
            event.target.value = ''
          }} />
      </li>
    </ul>
    <p class="hint">Drop images anywhere, paste one, or select files. They are sent to this server only.${search ? ` A search ranks up to ${most} images.` : ''}</p>
    ${state.images.length > 1 && html`<p class="row"><button type="button" class="quiet" onClick=${actions.removeAll}>Remove all ${state.images.length} images</button></p>`}
    ${refused.map((image) => html`<p key=${image.id} class="error"><strong>${image.name}</strong>: ${image.error}</p>`)}
    <${Samples} ...${{ state, actions }} />
  </section>`
}

// Add images that are dropped or pasted anywhere on the page.
export function DropZone({ actions }) {
  const [over, setOver] = useState(false)
  useEffect(() => {
    const files = (event) => [...(event.dataTransfer ?? event.clipboardData).files]
    const hasFiles = (event) => event.dataTransfer?.types.includes('Files')
    const drag = (event) => {
      if (!hasFiles(event)) return
      event.preventDefault()
      setOver(true)
    }
    const leave = (event) => !event.relatedTarget && setOver(false)
    const drop = (event) => {
      if (!hasFiles(event)) return
      event.preventDefault()
      setOver(false)
      actions.addFiles(files(event))
    }
    const paste = (event) => {
      const pasted = files(event).filter(isImage)
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
