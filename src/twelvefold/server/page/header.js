// The model's name, training data, limitations and test scores.

import { html, useState } from './vendor/preact.js'
import { whole } from './format.js'

const million = (count) => (count >= 1e6 ? `${(count / 1e6).toFixed(count >= 1e7 ? 0 : 1)} million` : whole(count))

const NO_SCORES = 'It has no test scores yet: run “twelvefold evaluate”.'

// Each score with the test set that it was measured on: a score without its data says nothing.
function Scores({ scores, details }) {
  const rows = Object.entries(scores)
  if (!rows.length) return null
  return html`<details class="scores">
    <summary>Test scores</summary>
    <div class="table" role="region" aria-label="Test scores" tabindex="0"><table>
      <caption>Each score with the test set that it was measured on</caption>
      <thead><tr><th scope="col">Task</th><th scope="col">Metric</th><th scope="col">Score, %</th><th scope="col">Examples</th><th scope="col">Test set</th></tr></thead>
      <tbody>${rows.map(([task, score]) => {
        const about = details[task]
        return html`<tr key=${task}><th scope="row">${about?.title ?? task}</th><td class="data">${about?.metric.replaceAll('_', ' ') ?? ""}</td><td>${score === null ? 'scored by the server' : score.toFixed(1)}</td>
          <td>${about ? whole(about.n || about.unlabeled) : 'unknown'}</td><td class="data">${about?.data || 'unknown'}</td></tr>`
      })}</tbody>
    </table></div>
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
  const count = model?.tasks.length
  return html`<header class="top">
    <p class="brand"><img src="page/icon.svg" alt="" width="32" height="32" /><span>twelvefold</span></p>
    <div class="model">
      <h1>Ask about an image</h1>
      ${error && html`<p class="error" role="alert">${error}</p>`}
      ${locked && html`<${Token} unlock=${unlock} />`}
      ${model &&
      html`<p>
        The model <strong>${model.name}</strong> has ${million(model.parameters)} parameters and
        ${' '}${count === 1 ? 'one task' : `${count} tasks`}. ${model.trained_on ? `Trained on ${model.trained_on}.` : 'What it was trained on is not known.'}
        ${Object.keys(model.scores).length ? '' : ` ${NO_SCORES}`}
      </p>
      ${model.limitations.map((sentence) => html`<p key=${sentence} class="warning">${sentence}</p>`)}`}
    </div>
    ${model && html`<${Scores} scores=${model.scores} details=${model.score_details} />`}
    <p class="links"><a href="docs">API</a></p>
  </header>`
}
