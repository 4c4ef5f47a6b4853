// Where the model looked: co-attention between words and regions, by layer and head, drawn over the picture.

import { html, useEffect, useState } from './vendor/preact.js'

const WAYS = [['words', 'from a word to the picture'], ['regions', 'from the picture to a word']]

export function useAttention(result) {
  const maps = result?.status === 'answered' ? (result.reply.attention ?? []) : []
  const [chosen, setChosen] = useState({ on: false, layer: 0, head: -1, way: 'words', word: -1 })
  const patch = (change) => setChosen((old) => ({ ...old, ...change }))
  useEffect(() => patch({ on: maps.length > 0, layer: Math.max(0, (maps[0]?.layers.length ?? 1) - 1), head: -1, word: -1 }), [result?.reply])
  return { maps, chosen, patch, glow: chosen.on ? maps.map((map) => glowOf(map, chosen)) : [] }
}

export const glowOf = () => []

export function Attention() {
  return null
}
