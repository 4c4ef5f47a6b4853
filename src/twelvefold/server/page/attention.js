// Where the model looked: co-attention by layer and head, both ways at once. A chosen word lights up the regions it
// looked at; a chosen region shows under each word how much it looked at that word.

import { html, useState } from './vendor/preact.js'
import { percent } from './words.js'

const FIRST = { on: true, head: -1, word: -1, region: -1 } // -1: all of them, averaged
const WHOLE = 0 // the row that is the whole picture

const mean = (rows) => rows[0].map((_, place) => rows.reduce((sum, row) => sum + row[place], 0) / rows.length)

// One row of a block's shares: of a head or all, and of the chosen row or all.
function shares(heads, head, row) {
  const chosen = head < 0 ? heads : [heads[head]]
  return mean(chosen.map((rows) => (row < 0 ? mean(rows) : rows[row])))
}

// The regions' glow over a picture: the one most looked at has weight 1.
function glowOf(map, { block, head, word, region }, choose) {
  const row = shares(map.blocks[block].to_regions, head, word)
  const most = Math.max(...row.filter((_, place) => place !== WHOLE), 1e-9)
  return map.boxes_px
    .map((box, place) => ({ box, weight: row[place] / most, chosen: place === region, choose: () => choose(place) }))
    .filter((_, place) => place !== WHOLE)
}

// The maps of an answer, one for each picture, and what is chosen of them: the last layer, until something else is.
export function useAttention(result) {
  const reply = result?.status === 'answered' ? result.reply : null
  const maps = reply?.attention ?? []
  const [kept, setKept] = useState({ reply: null })
  const chosen = kept.reply === reply ? kept : { ...FIRST, reply, block: Math.max(0, (maps[0]?.blocks.length ?? 1) - 1) }
  const choose = (change) => setKept({ ...chosen, ...change })
  const glow = chosen.on ? maps.map((map) => glowOf(map, chosen, (region) => choose({ region }))) : []
  return { maps, chosen, choose, glow }
}

function Slider({ id, name, value, low, high, told, set }) {
  return html`<label for=${id}><span>${name}: <strong>${told}</strong></span>
    <input id=${id} type="range" min=${low} max=${high} value=${value} aria-valuetext=${told} onInput=${(event) => set(Number(event.target.value))} />
  </label>`
}

function Words({ map, chosen, choose, side }) {
  const { block, head, word, region } = chosen
  const looked = shares(map.blocks[block].to_words, head, region)
  const most = Math.max(...looked)
  const whole = shares(map.blocks[block].to_regions, head, word)[WHOLE]
  return html`<div>
    ${side && html`<h3>${side}</h3>`}
    <ul class="words" aria-label=${`Words${side && `, ${side.toLowerCase()}`}`}>
      ${map.words.map((piece, place) => html`<li key=${place}>
        <button type="button" aria-pressed=${word === place} onClick=${() => choose({ word: word === place ? -1 : place })}>
          ${piece}<span class="visually-hidden">, looked at ${percent(looked[place])}</span>
          <span class="share" aria-hidden="true" style=${{ width: `${(100 * looked[place]) / most}%` }}></span></button>
      </li>`)}
    </ul>
    <p class="hint">${word < 0 ? 'All words' : `“${map.words[word]}”`} looked at the picture as a whole ${percent(whole)}, and at regions as they glow.</p>
  </div>`
}

function Regions({ map, region, choose }) {
  return html`<label class="head">Bars under words: looked at by
    <select value=${region} onChange=${(event) => choose({ region: Number(event.target.value) })}>
      <option value=${-1}>all regions</option>
      ${map.boxes_px.map((box, place) => html`<option key=${place} value=${place}>${place === WHOLE ? 'the whole picture' : `region ${place}`}</option>`)}
    </select>
  </label>`
}

export function Attention({ maps, chosen, choose }) {
  if (!maps.length) return null
  const heads = maps[0].blocks[0].to_regions.length
  const { on, block, head, region } = chosen
  return html`<section class="attention" aria-label="Where it looked">
    <label class="check"><input type="checkbox" checked=${on} onChange=${(event) => choose({ on: event.target.checked })} />
      <span>Where it looked, over the picture</span></label>
    <div class="sliders">
      <${Slider} id="layer" name="Layer" value=${block} low=${0} high=${maps[0].blocks.length - 1}
        told=${`${block + 1} of ${maps[0].blocks.length}`} set=${(value) => choose({ block: value })} />
      <${Slider} id="head" name="Head" value=${head} low=${-1} high=${heads - 1}
        told=${head < 0 ? `all ${heads}` : `${head + 1} of ${heads}`} set=${(value) => choose({ head: value })} />
    </div>
    ${maps.map((map, place) => html`<${Words} key=${place} ...${{ map, chosen, choose, side: maps.length > 1 ? ['Left', 'Right'][place] : '' }} />`)}
    <${Regions} map=${maps[0]} ...${{ region, choose }} />
  </section>`
}
