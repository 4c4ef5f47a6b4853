// The layout of the page: header, tabs, images on the left, question and answers on the right, history below.

import { html, render, useEffect, useState } from './vendor/preact.js'
import { createActions } from './actions.js'
import { Answers } from './answers.js'
import { Attention, useAttention } from './attention.js'
import { Snippets } from './snippets.js'
import { TaskForm } from './form.js'
import { Gallery } from './gallery.js'
import { Header } from './header.js'
import { History } from './history.js'
import { MultiTask, multiTaskMarks } from './multi_task.js'
import { answerMarks, candidateMarks, regionMarks, ImageView } from './image_view.js'
import { Download } from './download.js'
import { createStore, formOf, initialState, imagesOf, resultOf, imageIdsOf } from './store.js'
import { groundTruthOf } from './suggestions.js'
import { Tabs } from './tabs.js'
import { taskOf } from './tasks.js'
import { DropZone, ImageTray } from './image_tray.js'
import { overlap } from './format.js'

const NO_TASKS = 'This model has no tasks to ask: it was pretrained only. Train it on tasks, and serve the run.'

const store = createStore(initialState)
const actions = createActions(store)

function marksOf({ state, task, form, result, image, groundTruth, imageIds }) {
  const regions = state.showRegions && image ? regionMarks(image) : []
  const answers = task.input === 'rows' ? multiTaskMarks(state, imageIds) : answerMarks(result, state.hot)
  const answered = (mark) => answers.some(({ box }) => overlap(box, mark.box) > 0.99)
  const candidates = task.candidates && form.useOwnBoxes ? candidateMarks(form.boxes).filter((mark) => !answered(mark)) : []
  const correct = groundTruth?.box && !groundTruth.right ? [{ box: groundTruth.box, index: 'correct', type: 'correct', label: 'correct' }] : []
  return [...regions, ...candidates, ...correct, ...answers]
}

function Pair({ state, images, glow }) {
  const slots = [['first', 'Left'], ['second', 'Right']]
  return html`<div class="pair">
    ${slots.map(([slot, name], side) => {
      const image = state.images.find(({ id }) => id === state[slot])
      return html`<div key=${slot} class="slot">
        <button type="button" class="quiet" aria-pressed=${state.slot === slot} onClick=${() => actions.setSlot(slot)}>
          ${name}${state.slot === slot ? ': select below' : ''}</button>
        ${image ? html`<${ImageView} key=${image.id} image=${image} glow=${glow[side] ?? []} />` : html`<p class="empty">No image yet</p>`}
      </div>`
    })}
    <button type="button" class="quiet swap" disabled=${images.length < 2} onClick=${actions.swap}>Swap left and right</button>
  </div>`
}

function Single({ state, task, form, result, groundTruth, imageIds, image, glow }) {
  if (!image) return html`<p class="empty">Drop an image here, or select one below.</p>`
  const marks = glow.length ? [] : marksOf({ state, task, form, result, image, groundTruth, imageIds })
  const onBox = task.candidates && form.useOwnBoxes ? (box) => actions.setForm({ boxes: [...form.boxes, box] }) : null
  return html`<${ImageView} key=${image.id} ...${{ image, marks, glow, onBox, hot: state.hot, point: actions.point }} />
    <label class="check"><input type="checkbox" checked=${state.showRegions} onChange=${(event) => actions.setShowRegions(event.target.checked)} />
      <span>Show all detected regions</span></label>`
}

function Panel({ state }) {
  const task = taskOf(state)
  const form = formOf(state)
  const images = imagesOf(state, task)
  const result = resultOf(state, task)
  const imageIds = imageIdsOf(images)
  const attention = useAttention(result)
  const groundTruth = groundTruthOf(task, result, images)
  const view = { state, task, form, result, images, imageIds, groundTruth, actions }
  return html`<div id="panel" class="desk" role="tabpanel" aria-labelledby=${`tab-${task.key}`} tabindex="-1">
    <div class="images">
      ${task.images === 1 && html`<${Single} ...${view} image=${images[0]} glow=${attention.glow[0] ?? []} />`}
      ${task.images === 2 && html`<${Pair} ...${view} glow=${attention.glow} />`}
      ${task.images > 2 && html`<${Gallery} ...${view} />`}
    </div>
    <div class="questions">
      ${task.input === 'rows' ? html`<${MultiTask} ...${view} />` : html`<${TaskForm} key=${task.key} ...${view} />`}
      <${Answers} ...${view} hot=${state.hot} point=${actions.point} />
      ${result?.status === 'answered' && html`<${Download} ...${{ task, result, images }} />`}
      <${Attention} ...${attention} />
      ${result?.request && html`<${Snippets} request=${result.request} model=${state.model} />`}
    </div>
    <${ImageTray} ...${view} />
  </div>`
}

function App() {
  const [state, setState] = useState(store.get())
  useEffect(() => {
    const unsubscribe = store.listen(setState)
    const escape = (event) => event.key === 'Escape' && actions.cancel()
    window.addEventListener('keydown', escape)
    actions.start()
    return () => {
      unsubscribe()
      window.removeEventListener('keydown', escape)
    }
  }, [])
  return html`<a class="skip" href="#panel">Skip to images and question</a>
    <${Header} model=${state.model} error=${state.modelError} locked=${state.locked} unlock=${actions.unlock} />
    <main>
      ${state.tabs.length > 0 && html`<${Tabs} tabs=${state.tabs} chosen=${state.task} choose=${actions.chooseTask} />
        <${Panel} state=${state} />`}
      ${state.model && !state.tabs.length && html`<p class="empty">${NO_TASKS}</p>`}
    </main>
    <${History} ...${{ state, actions }} />
    <p class="visually-hidden" role="status">${state.announcement}</p>
    <${DropZone} actions=${actions} />`
}

const root = document.getElementById('app')
root.textContent = ''
render(html`<${App} />`, root)
