// The tasks as tabs: arrow keys, Home and End move among them, as the ARIA pattern for tabs has it.

import { html, useEffect, useRef } from './vendor/preact.js'
import { TASKS } from './tasks.js'

export function Tabs({ chosen, choose }) {
  const list = useRef(null)
  const current = () => list.current.querySelector('[aria-selected="true"]')
  useEffect(() => {
    // The strip scrolls sideways on a phone: bring the chosen tab into it, without moving the page.
    const tab = current()
    list.current.scrollTo({ left: tab.offsetLeft - (list.current.clientWidth - tab.clientWidth) / 2 })
  }, [chosen])
  const move = (event) => {
    const place = TASKS.findIndex((task) => task.key === chosen)
    const last = TASKS.length - 1
    const next = {
      ArrowRight: place === last ? 0 : place + 1, ArrowDown: place === last ? 0 : place + 1,
      ArrowLeft: place === 0 ? last : place - 1, ArrowUp: place === 0 ? last : place - 1,
      Home: 0, End: last,
    }[event.key]
    if (next === undefined) return
    event.preventDefault()
    choose(TASKS[next].key)
    list.current.children[next].focus()
  }
  return html`<div class="tabs" role="tablist" aria-label="Task" ref=${list} onKeyDown=${move}>
    ${TASKS.map((task) => html`<button key=${task.key} type="button" role="tab" id=${`tab-${task.key}`} aria-controls="panel"
      aria-selected=${task.key === chosen} tabindex=${task.key === chosen ? 0 : -1} onClick=${() => choose(task.key)}>${task.tab}</button>`)}
  </div>`
}
