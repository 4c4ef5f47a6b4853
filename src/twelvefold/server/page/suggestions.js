// Suggested questions about the sample images, and their ground truth. A suggestion has a task, a text or dialogue, and
// the answer, the correct box (box_px), the candidate boxes (boxes_px), or the other image of a pair.

import { headOf, isSearch } from './tasks.js'
import { overlap, IOU_THRESHOLD } from './format.js'

const MAX_SUGGESTIONS = 3 // suggestions shown

const suggestionsFor = (sample, name) => (sample?.suggestions ?? []).filter((suggestion) => suggestion.task === name)

// Return [{label, form, samples}]: the text of a suggestion, its form inputs, and its samples if there are two.
export function suggestionsOf(task, images, state, form) {
  const sample = images[0]?.sample
  const head = headOf(task, form)
  if (task.input === 'phrases') return phrasesOf(sample, head)
  if (task.images === 2)
    return state.samples.flatMap((left) => suggestionsFor(left, head).map(({ text, other }) => ({ label: text, form: { text }, samples: [left.name, other] }))).slice(0, MAX_SUGGESTIONS)
  if (isSearch(task))
    return images.flatMap((image) => suggestionsFor(image.sample, head).slice(0, 1).map(({ text }) => ({ label: text, form: { text } }))).slice(0, MAX_SUGGESTIONS)
  return suggestionsFor(sample, head).slice(0, MAX_SUGGESTIONS).map((suggestion) => ({
    label: suggestion.text || suggestion.dialogue.map(([question]) => question).join(' … '),
    form: {
      text: suggestion.text,
      ...(suggestion.dialogue.length && { turns: suggestion.dialogue }),
      ...(suggestion.boxes_px.length && { boxes: suggestion.boxes_px, useOwnBoxes: true }),
    },
  }))
}

// Join two referring expressions of a sample, as samples have no captions with phrases.
function phrasesOf(sample, head) {
  const [first, second] = suggestionsFor(sample, head)
  const text = second && `[${first.text}] and [${second.text}]`
  return text ? [{ label: text, form: { text } }] : []
}

// Return {right, text, box} for an answer to a suggested question, null for other questions.
export function groundTruthOf(task, result, images) {
  const [best] = result?.reply?.ranked ?? []
  if (!best || task.input === 'phrases') return null
  const findSuggestion = (image) => suggestionsFor(image.sample, result.reply.task).find((suggestion) => matchesRequest(suggestion, result.request, images))
  const groundTruth = (isSearch(task) ? images : images.slice(0, 1)).map(findSuggestion).find(Boolean)
  if (!groundTruth) return null
  if (groundTruth.box_px) return { right: overlap(groundTruth.box_px, best.box_px) >= IOU_THRESHOLD, text: '', box: groundTruth.box_px }
  const name = isSearch(task) ? images[Number(best.name)].sample?.name : best.name
  return { right: groundTruth.answer === name, text: groundTruth.answer, box: null }
}

function matchesRequest(suggestion, request, images) {
  const fields = Object.fromEntries(request.fields)
  if (suggestion.other && suggestion.other !== images[1]?.sample?.name) return false
  if (suggestion.dialogue.length) return JSON.stringify(suggestion.dialogue) === fields.dialogue
  return Object.values(fields).includes(suggestion.text)
}
