// The tasks as tabs, with arrow keys, Home and End as in the ARIA pattern for tabs.

import { html, useEffect, useRef } from './vendor/preact.js'

export function Tabs({ tabs, chosen, choose }) {
  const list = useRef(null)
  const current = () => list.current.querySelector('[aria-selected="true"]')
  useEffect(() => {
    // The tabs scroll sideways on a phone: scroll the selected one into view without moving the page.
    const tab = current()
    list.current.scrollTo({ left: tab.offsetLeft - (list.current.clientWidth - tab.clientWidth) / 2 })
  }, [chosen])
  const move = (event) => {
    const index = tabs.findIndex((task) => task.key === chosen)
    const last = tabs.length - 1
    const next = {
      ArrowRight: index === last ? 0 : index + 1, ArrowDown: index === last ? 0 : index + 1,
      ArrowLeft: index === 0 ? last : index - 1, ArrowUp: index === 0 ? last : index - 1,
      Home: 0, End: last,
    }[event.key]
    if (next === undefined) return
    event.preventDefault()
    choose(tabs[next].key)
    list.current.children[next].focus()
  }
  return html`<div class="tabs" role="tablist" aria-label="Task" ref=${list} onKeyDown=${move}>
    ${tabs.map((task) => html`<button key=${task.key} type="button" role="tab" id=${`tab-${task.key}`} aria-controls="panel"
      aria-selected=${task.key === chosen} tabindex=${task.key === chosen ? 0 : -1} onClick=${() => choose(task.key)}>${task.tab}</button>`)}
  </div>`
}
