// The model's name, training data and test scores.

import { html, useState } from './vendor/preact.js'
import { whole } from './format.js'

const million = (count) => (count >= 1e6 ? `${(count / 1e6).toFixed(count >= 1e7 ? 0 : 1)} million` : whole(count))

const PACKAGE_DETECTOR = 'world' // the detector that ships, trained on drawn images

const DRAWN_ONLY = 'It was trained on drawn images like the samples. Its answers about photographs are guesses.'

function Scores({ scores }) {
  const rows = Object.entries(scores ?? {})
  if (!rows.length) return null
  return html`<details class="scores">
    <summary>Test scores</summary>
    <table>
      <caption class="visually-hidden">Test score of each task, in percent</caption>
      <tbody>${rows.map(([task, score]) => html`<tr key=${task}><th scope="row">${task}</th><td>${score.toFixed(1)}</td></tr>`)}</tbody>
    </table>
  </details>`
}

function Token({ unlock }) {
  const [token, setToken] = useState('')
  const submit = (event) => {
    event.preventDefault()
    unlock(token.trim())
  }
  return html`<form class="row token" onSubmit=${submit}>
    <label for="token">Token</label>
    <input id="token" type="password" autocomplete="off" value=${token} onInput=${(event) => setToken(event.target.value)} />
    <button type="submit" class="go">Unlock</button>
  </form>`
}

export function Header({ model, error, locked, unlock }) {
  return html`<header class="top">
    <p class="brand"><img src="page/icon.svg" alt="" width="32" height="32" /><span>twelvefold</span></p>
    <div class="model">
      <h1>Ask about an image</h1>
      ${error && html`<p class="error" role="alert">${error}</p>`}
      ${locked && html`<${Token} unlock=${unlock} />`}
      ${model &&
      html`<p>
        One model, <strong>${model.name}</strong>, answers all tasks: ${million(model.parameters)} parameters,
        ${' '}${model.tasks.length} tasks, trained on ${model.trained_on || 'unknown data'}.
      </p>
      ${model.detector.name === PACKAGE_DETECTOR && html`<p class="warning">${DRAWN_ONLY}</p>`}`}
    </div>
    ${model && html`<${Scores} scores=${model.scores} />`}
    <p class="links"><a href="docs">API</a></p>
  </header>`
}
