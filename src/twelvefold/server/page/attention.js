// Attention weights by layer and head, in both directions: the weights from a word to the regions are drawn over the
// image, and the weights from a region to the words as bars below the words.

import { html, useState } from './vendor/preact.js'
import { percent } from './format.js'

const DEFAULTS = { visible: true, head: -1, word: -1, region: -1 } // -1: the mean of all
const WHOLE = 0 // index of the region that is the whole image

const mean = (rows) => rows[0].map((_, index) => rows.reduce((sum, row) => sum + row[index], 0) / rows.length)

// One row of a layer's weights: of one head or the mean of all, from one row or the mean of all.
function averageWeights(heads, head, row) {
  const chosen = head < 0 ? heads : [heads[head]]
  return mean(chosen.map((rows) => (row < 0 ? mean(rows) : rows[row])))
}

// The regions of an image with their weights, scaled so that the largest is 1.
function attentionOverlay(map, { block, head, word, region }, choose) {
  const row = averageWeights(map.blocks[block].to_regions, head, word)
  const largest = Math.max(...row.filter((_, index) => index !== WHOLE), 1e-9)
  return map.boxes_px
    .map((box, index) => ({ box, weight: row[index] / largest, chosen: index === region, choose: () => choose(index) }))
    .filter((_, index) => index !== WHOLE)
}

// The attention of an answer, one map for each image, and the selected layer, head, word and region.
export function useAttention(result) {
  const reply = result?.status === 'answered' ? result.reply : null
  const maps = reply?.attention ?? []
  const [selection, setSelection] = useState({ reply: null })
  const chosen = selection.reply === reply ? selection : { ...DEFAULTS, reply, block: Math.max(0, (maps[0]?.blocks.length ?? 1) - 1) }
  const choose = (change) => setSelection({ ...chosen, ...change })
  const glow = chosen.visible ? maps.map((map) => attentionOverlay(map, chosen, (region) => choose({ region }))) : []
  return { maps, chosen, choose, glow }
}

function Slider({ id, name, value, low, high, label, set }) {
  return html`<label for=${id}><span>${name}: <strong>${label}</strong></span>
    <input id=${id} type="range" min=${low} max=${high} value=${value} aria-valuetext=${label} onInput=${(event) => set(Number(event.target.value))} />
  </label>`
}

function Words({ map, chosen, choose, side }) {
  const { block, head, word, region } = chosen
  const weights = averageWeights(map.blocks[block].to_words, head, region)
  const largest = Math.max(...weights)
  const whole = averageWeights(map.blocks[block].to_regions, head, word)[WHOLE]
  return html`<div>
    ${side && html`<h3>${side}</h3>`}
    <ul class="words" aria-label=${`Words${side && `, ${side.toLowerCase()}`}`}>
      ${map.words.map((piece, index) => html`<li key=${index}>
        <button type="button" aria-pressed=${word === index} onClick=${() => choose({ word: word === index ? -1 : index })}>
          ${piece}<span class="visually-hidden">, weight ${percent(weights[index])}</span>
          <span class="share" aria-hidden="true" style=${{ width: `${(100 * weights[index]) / largest}%` }}></span></button>
      </li>`)}
    </ul>
    <p class="hint">Weight of the whole image from ${word < 0 ? 'all words' : `“${map.words[word]}”`}: ${percent(whole)}. The lights show the weights of the regions.</p>
  </div>`
}

function Regions({ map, region, choose }) {
  return html`<label class="head">Bars below words: weights from
    <select value=${region} onChange=${(event) => choose({ region: Number(event.target.value) })}>
      <option value=${-1}>all regions</option>
      ${map.boxes_px.map((box, index) => html`<option key=${index} value=${index}>${index === WHOLE ? 'the whole image' : `region ${index}`}</option>`)}
    </select>
  </label>`
}

export function Attention({ maps, chosen, choose }) {
  if (!maps.length) return null
  const heads = maps[0].blocks[0].to_regions.length
  const { visible, block, head, region } = chosen
  return html`<section class="attention" aria-label="Attention">
    <label class="check"><input type="checkbox" checked=${visible} onChange=${(event) => choose({ visible: event.target.checked })} />
      <span>Show attention over the image</span></label>
    <div class="sliders">
      <${Slider} id="layer" name="Layer" value=${block} low=${0} high=${maps[0].blocks.length - 1}
        label=${`${block + 1} of ${maps[0].blocks.length}`} set=${(value) => choose({ block: value })} />
      <${Slider} id="head" name="Head" value=${head} low=${-1} high=${heads - 1}
        label=${head < 0 ? `all ${heads}` : `${head + 1} of ${heads}`} set=${(value) => choose({ head: value })} />
    </div>
    ${maps.map((map, index) => html`<${Words} key=${index} ...${{ map, chosen, choose, side: maps.length > 1 ? ['Left', 'Right'][index] : '' }} />`)}
    <${Regions} map=${maps[0]} ...${{ region, choose }} />
  </section>`
}
