// What a sample picture suggests to ask, and what its own files say is right. A sample's suggestion names a task and has
// text or dialogue, and the answer, the box meant (box_px), the boxes to choose from (boxes_px), or the other picture.

import { headOf } from './tasks.js'
import { overlap, SAME_THING } from './words.js'

const MOST = 3 // suggestions shown: more would be a wall of text

const ofTask = (sample, name) => (sample?.suggestions ?? []).filter((suggestion) => suggestion.task === name)

// [{label, form, samples}]: what a suggestion is called, how it fills the form, and the samples it is about.
export function suggestionsOf(task, pictures, state, form) {
  const sample = pictures[0]?.sample
  if (task.key === 'ground') return phrasesOf(sample)
  const head = headOf(task, form)
  if (task.key === 'compare')
    return state.samples.flatMap((left) => ofTask(left, head).map(({ text, other }) => ({ label: text, form: { text }, samples: [left.name, other] }))).slice(0, MOST)
  if (task.key === 'find')
    return pictures.flatMap((picture) => ofTask(picture.sample, head).slice(0, 1).map(({ text }) => ({ label: text, form: { text } }))).slice(0, MOST)
  return ofTask(sample, head).slice(0, MOST).map((suggestion) => ({
    label: suggestion.text || suggestion.dialogue.map(([question]) => question).join(' … '),
    form: {
      text: suggestion.text,
      ...(suggestion.dialogue.length && { turns: suggestion.dialogue }),
      ...(suggestion.boxes_px.length && { boxes: suggestion.boxes_px, own: true }),
    },
  }))
}

// Samples come without captions whose phrases are boxed; two of their expressions make one.
function phrasesOf(sample) {
  const [one, other] = ofTask(sample, 'refcoco')
  const text = other && `[${one.text}] and [${other.text}]`
  return text ? [{ label: text, form: { text } }] : []
}

// What a sample's files say of an answer: {right, text, box}, or nothing where they were not asked exactly that.
export function truthOf(task, result, pictures) {
  const [best] = result?.reply?.ranked ?? []
  if (!best || task.key === 'ground') return null
  const asked = (picture) => ofTask(picture.sample, result.reply.task).find((suggestion) => isAsked(suggestion, result.request, pictures))
  const truth = (task.key === 'find' ? pictures : pictures.slice(0, 1)).map(asked).find(Boolean)
  if (!truth) return null
  if (truth.box_px) return { right: overlap(truth.box_px, best.box_px) >= SAME_THING, text: '', box: truth.box_px }
  const name = task.key === 'find' ? pictures[Number(best.name)].sample?.name : best.name
  return { right: truth.answer === name, text: truth.answer, box: null }
}

function isAsked(suggestion, request, pictures) {
  const fields = Object.fromEntries(request.fields)
  if (suggestion.other && suggestion.other !== pictures[1]?.sample?.name) return false
  if (suggestion.dialogue.length) return JSON.stringify(suggestion.dialogue) === fields.dialogue
  return Object.values(fields).includes(suggestion.text)
}
