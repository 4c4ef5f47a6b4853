// The page: header, tabs, pictures on one side, question and answers on the other, history below.

import { html, render, useEffect, useState } from './vendor/preact.js'
import { createActions } from './actions.js'
import { Answers } from './answers.js'
import { Attention, useAttention } from './attention.js'
import { Code } from './code.js'
import { TaskForm } from './form.js'
import { Gallery } from './gallery.js'
import { Header } from './header.js'
import { History } from './history.js'
import { Several, severalMarks } from './several.js'
import { answerMarks, givenMarks, regionMarks, Stage } from './stage.js'
import { createStore, formOf, initialState, picturesOf, resultOf, shownBy } from './store.js'
import { truthOf } from './suggestions.js'
import { Tabs } from './tabs.js'
import { taskOf } from './tasks.js'
import { DropZone, Tray } from './tray.js'
import { overlap } from './words.js'

const store = createStore(initialState)
const actions = createActions(store)

function marksOf({ state, task, form, result, picture, truth, shown }) {
  const seen = state.seen && picture ? regionMarks(picture) : []
  const answers = task.key === 'several' ? severalMarks(state, shown) : answerMarks(result, state.hot)
  const answered = (mark) => answers.some(({ box }) => overlap(box, mark.box) > 0.99)
  const given = task.candidates && form.own ? givenMarks(form.boxes).filter((mark) => !answered(mark)) : []
  const meant = truth?.box && !truth.right ? [{ box: truth.box, index: 'meant', look: 'meant', label: 'meant' }] : []
  return [...seen, ...given, ...meant, ...answers]
}

function Pair({ state, pictures, glow }) {
  const slots = [['first', 'Left'], ['second', 'Right']]
  return html`<div class="pair">
    ${slots.map(([slot, name], side) => {
      const picture = state.pictures.find((one) => one.id === state[slot])
      return html`<div key=${slot} class="slot">
        <button type="button" class="quiet" aria-pressed=${state.slot === slot} onClick=${() => actions.setSlot(slot)}>
          ${name}${state.slot === slot ? ': choose below' : ''}</button>
        ${picture ? html`<${Stage} key=${picture.id} picture=${picture} glow=${glow[side] ?? []} />` : html`<p class="empty">No picture yet</p>`}
      </div>`
    })}
    <button type="button" class="quiet swap" disabled=${pictures.length < 2} onClick=${actions.swap}>Swap left and right</button>
  </div>`
}

function Single({ state, task, form, result, truth, shown, picture, glow }) {
  if (!picture) return html`<p class="empty">Drop a picture here, or choose one below.</p>`
  const marks = glow.length ? [] : marksOf({ state, task, form, result, picture, truth, shown })
  const onBox = task.candidates && form.own ? (box) => actions.setForm({ boxes: [...form.boxes, box] }) : null
  return html`<${Stage} key=${picture.id} ...${{ picture, marks, glow, onBox, hot: state.hot, point: actions.point }} />
    <label class="check"><input type="checkbox" checked=${state.seen} onChange=${(event) => actions.showSeen(event.target.checked)} />
      <span>Show everything the detector found</span></label>`
}

function Panel({ state }) {
  const task = taskOf(state.task)
  const form = formOf(state)
  const pictures = picturesOf(state, task)
  const result = resultOf(state, task)
  const shown = shownBy(pictures)
  const attention = useAttention(result)
  const truth = truthOf(task, result, pictures)
  const view = { state, task, form, result, pictures, shown, truth, actions }
  return html`<div id="panel" class="desk" role="tabpanel" aria-labelledby=${`tab-${task.key}`} tabindex="-1">
    <div class="look">
      ${task.pictures === 1 && html`<${Single} ...${view} picture=${pictures[0]} glow=${attention.glow[0] ?? []} />`}
      ${task.pictures === 2 && html`<${Pair} ...${view} glow=${attention.glow} />`}
      ${task.pictures === Infinity && html`<${Gallery} ...${view} />`}
    </div>
    <div class="talk">
      ${task.key === 'several' ? html`<${Several} ...${view} />` : html`<${TaskForm} key=${task.key} ...${view} />`}
      <${Answers} ...${view} hot=${state.hot} point=${actions.point} />
      <${Attention} ...${attention} />
      ${result?.request && html`<${Code} request=${result.request} />`}
    </div>
    <${Tray} ...${view} />
  </div>`
}

function App() {
  const [state, setState] = useState(store.get())
  useEffect(() => {
    const leave = store.listen(setState)
    const escape = (event) => event.key === 'Escape' && actions.cancel()
    window.addEventListener('keydown', escape)
    actions.start()
    return () => {
      leave()
      window.removeEventListener('keydown', escape)
    }
  }, [])
  return html`<a class="skip" href="#panel">Skip to pictures and question</a>
    <${Header} model=${state.model} error=${state.modelError} locked=${state.locked} unlock=${actions.unlock} />
    <main>
      <${Tabs} chosen=${state.task} choose=${actions.chooseTask} />
      <${Panel} state=${state} />
    </main>
    <${History} ...${{ state, actions }} />
    <p class="visually-hidden" role="status">${state.said}</p>
    <${DropZone} actions=${actions} />`
}

const root = document.getElementById('app')
root.textContent = ''
render(html`<${App} />`, root)
