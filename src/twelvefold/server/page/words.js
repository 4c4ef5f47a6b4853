// How numbers, boxes and answers are said in words.

export const percent = (share) => {
  const value = 100 * share
  if (value >= 99.95) return '100 %'
  return `${value >= 9.95 ? value.toFixed(0) : value.toFixed(1)} %`
}

export const whole = (number) => Math.round(number).toLocaleString('en')

export function overlap(one, other) {
  const side = (low, high) => Math.max(0, Math.min(one[high], other[high]) - Math.max(one[low], other[low]))
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1])
  const both = side(0, 2) * side(1, 3)
  return both / (area(one) + area(other) - both)
}

export const SAME_THING = 0.5 // overlap from which two boxes hold one thing, the publishers' convention for RefCOCO

export const letter = (place) => `${String.fromCharCode(65 + (place % 26))}${place < 26 ? '' : Math.floor(place / 26)}`

// What the detector calls the thing in a box, where it found one there.
function kindAt(box, regions) {
  const overlaps = regions.map((region) => overlap(region.box_px, box))
  const most = Math.max(0, ...overlaps)
  return most >= SAME_THING ? regions[overlaps.indexOf(most)].kind : ''
}

// A box of an answer: by the letter it was drawn under, where the person gave the candidates, else by its rank.
export function boxName(ranked, place, reply) {
  const given = (reply.candidates_px ?? []).map((box) => overlap(box, ranked.box_px))
  return given.length ? letter(given.indexOf(Math.max(...given))) : String(place + 1)
}

const MEANINGS = {
  True: 'True', False: 'False', entailment: 'Entailment: it follows', contradiction: 'Contradiction: it cannot be',
  neutral: 'Neutral: the picture does not say',
}

// The name of one ranked answer, as the page shows it.
export function nameOf(ranked, place, reply, pictures) {
  if (ranked.box_px && ranked.name) return ranked.name
  if (!ranked.box_px) return MEANINGS[ranked.name] ?? ranked.name
  const kind = kindAt(ranked.box_px, pictures[0]?.regions ?? [])
  return `Box ${boxName(ranked, place, reply)}${kind && `: ${kind}`}`
}

// Of a search: the picture that a ranked answer means; its name is the picture's place in the question.
export const pictureFor = (ranked, pictures) => pictures[Number(ranked.name)]

// An answer as a screen reader is told it.
export function inWords(task, reply, pictures) {
  const [best] = reply.ranked
  if (!best) return `${task.tab}: no answer.`
  const name = task.key === 'find' ? pictureFor(best, pictures).name : nameOf(best, 0, reply, pictures)
  return `${task.tab}: ${name}, ${percent(best.probability)}.`
}
