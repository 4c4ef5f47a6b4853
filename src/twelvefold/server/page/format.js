// Numbers, boxes and answers as text.

import { isSearch } from './tasks.js'

export const percent = (fraction) => {
  const value = 100 * fraction
  if (value >= 99.95) return '100 %'
  return `${value >= 9.95 ? value.toFixed(0) : value.toFixed(1)} %`
}

export const whole = (number) => Math.round(number).toLocaleString('en')

// Return the intersection over union of two boxes.
export function overlap(a, b) {
  const side = (low, high) => Math.max(0, Math.min(a[high], b[high]) - Math.max(a[low], b[low]))
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1])
  const intersection = side(0, 2) * side(1, 3)
  return intersection / (area(a) + area(b) - intersection)
}

export const IOU_THRESHOLD = 0.5 // boxes with at least this overlap are the same object (RefCOCO's convention)

export const letterOf = (index) => `${String.fromCharCode(65 + (index % 26))}${index < 26 ? '' : Math.floor(index / 26)}`

// The category of the detected region at a box, empty if there is none.
function categoryAt(box, regions) {
  const overlaps = regions.map((region) => overlap(region.box_px, box))
  const best = Math.max(0, ...overlaps)
  return best >= IOU_THRESHOLD ? regions[overlaps.indexOf(best)].kind : ''
}

// The label of an answer's box: the letter of its candidate, or its rank if there are no candidates.
export function boxName(ranked, index, reply) {
  const overlaps = (reply.candidates_px ?? []).map((box) => overlap(box, ranked.box_px))
  return overlaps.length ? letterOf(overlaps.indexOf(Math.max(...overlaps))) : String(index + 1)
}

const CLASS_LABELS = {
  True: 'True', False: 'False', entailment: 'Entailment: it is true', contradiction: 'Contradiction: it is false',
  neutral: 'Neutral: it may be true or false',
}

// The text of one ranked answer.
export function nameOf(ranked, index, reply, images) {
  if (ranked.box_px && ranked.name) return ranked.name
  if (!ranked.box_px) return CLASS_LABELS[ranked.name] ?? ranked.name
  const category = categoryAt(ranked.box_px, images[0]?.regions ?? [])
  return `Box ${boxName(ranked, index, reply)}${category && `: ${category}`}`
}

// The image of a ranked search result, whose name is an index.
export const rankedImage = (ranked, images) => images[Number(ranked.name)]

// The best answer as text for screen readers.
export function describeReply(task, reply, images) {
  const [best] = reply.ranked
  if (!best) return `${task.tab}: no answer.`
  const name = isSearch(task) ? rankedImage(best, images).name : nameOf(best, 0, reply, images)
  return `${task.tab}: ${name}, ${percent(best.probability)}.`
}
