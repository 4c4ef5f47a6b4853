// What each task is on this page: its words, the pictures it needs, and the request that asks it. The same request
// is sent, and shown as curl and as Python.

export const TASKS = [
  {
    key: 'ask', tab: 'Question', title: 'Ask a question about the picture', method: 'ask', field: 'question',
    label: 'Your question', example: 'What color is the dog?', pictures: 1, verb: 'Ask',
    heads: [['vqav2', 'VQAv2'], ['vgqa', 'VG QA']],
    hint: 'Free questions: colours, counts, places, yes or no. The answer comes from a fixed list learnt in training.',
  },
  {
    key: 'gqa', tab: 'Reasoning', title: 'Ask a question that takes several steps', method: 'ask', field: 'question',
    label: 'Your question', example: 'Is the animal next to the tree red?', pictures: 1, verb: 'Ask',
    heads: [['gqa', 'GQA']],
    hint: 'Composed questions as GQA has them: relations, attributes and logic.',
  },
  {
    key: 'point', tab: 'Point at', title: 'Point at what an expression means', method: 'point', field: 'phrase',
    label: 'What should it point at?', example: 'the red car on the left', pictures: 1, verb: 'Point', boxes: true,
    heads: [['refcoco', 'RefCOCO'], ['refcoco+', 'RefCOCO+ (no places)'], ['refcocog', 'RefCOCOg (long)']],
    hint: 'Describe one thing; the model boxes what it thinks you mean.',
  },
  {
    key: 'choose', tab: 'Which one?', title: 'A question answered by pointing', method: 'choose', field: 'question',
    label: 'A “which” question', example: 'Which one can fly?', pictures: 1, verb: 'Ask', boxes: true, candidates: true,
    heads: [['visual7w', 'Visual7W']],
    hint: 'As in Visual7W: the answer is one of several boxes. Take what the detector found, or draw your own.',
  },
  {
    key: 'guess', tab: 'Dialogue', title: 'Think of one thing; let it guess which', method: 'guess', field: 'dialogue',
    label: 'Next question', example: 'Is it an animal?', pictures: 1, verb: 'Add turn', boxes: true, candidates: true,
    heads: [['guesswhat', 'GuessWhat?!']],
    hint: 'As in GuessWhat?!: questions with yes, no or n/a lead to one thing. The model guesses anew after every turn.',
  },
  {
    key: 'ground', tab: 'Phrases', title: 'Find every phrase of a caption', method: 'ground', field: 'caption',
    label: 'Caption', example: 'A dog next to a red car', pictures: 1, verb: 'Ground', boxes: true,
    hint: 'Mark the phrases you want boxed with [square brackets]; each gets a box of its own.',
  },
  {
    key: 'entails', tab: 'Entailment', title: 'Does the picture bear out a statement?', method: 'entails',
    field: 'statement', label: 'Statement', example: 'Two animals are outdoors.', pictures: 1, verb: 'Judge',
    heads: [['snli_ve', 'SNLI-VE']],
    hint: 'As in SNLI-VE: entailment (it follows), contradiction (it cannot be), neutral (the picture does not say).',
  },
  {
    key: 'compare', tab: 'Two pictures', title: 'Is a statement true of two pictures?', method: 'compare',
    field: 'statement', label: 'Statement about both', example: 'Both images contain a dog.', pictures: 2,
    verb: 'Judge', heads: [['nlvr2', 'NLVR2']],
    hint: 'As in NLVR2. Speak of “the left image” and “the right image”, of “both” or of “one”.',
  },
  {
    key: 'find', tab: 'Find by caption', title: 'Find the picture that a caption describes', method: 'find',
    field: 'text', label: 'Caption', example: 'A red car beside a tree.', pictures: Infinity, verb: 'Find',
    heads: [['coco', 'COCO'], ['flickr30k', 'Flickr30k']],
    hint: 'Ranks every picture below by how well the caption fits.',
  },
  {
    key: 'several', tab: 'Several at once', title: 'One picture, several tasks at once', pictures: 1, verb: 'Ask all',
    hint: 'One model answers all of these, each through its own head, in one go.',
  },
]

export const taskOf = (key) => TASKS.find((task) => task.key === key)

// The rows of "several at once": tasks of one picture that need a text alone.
export const SEVERAL = ['ask', 'gqa', 'point', 'choose', 'entails'].map(taskOf)

export const headOf = (task, form) => form.head || task.heads?.[0][0] || ''

const PHRASE = /\[([^\[\]]+)\]/g

// A caption with [phrases] in brackets: the caption without brackets, and the phrases in order.
export function bracketed(text) {
  return {
    caption: text.replace(PHRASE, '$1').trim(),
    phrases: [...text.matchAll(PHRASE)].map((match) => match[1].trim()).filter(Boolean),
  }
}

// What is wrong with a form before it is sent, in words, or nothing.
export function lacking(task, form, pictures) {
  if (pictures.some((picture) => picture.status === 'refused')) return 'This picture could not be read: choose another.'
  if (pictures.length === 0) return 'Choose a picture first: drop one on the page, or take a sample.'
  if (task.pictures === 2 && pictures.length < 2) return 'This task takes two pictures: choose one for each side.'
  if (task.key === 'find' && pictures.length < 2) return 'Add at least two pictures to search among.'
  if (task.key === 'guess') return form.turns.length ? '' : 'Ask at least one question, and say what the answer is.'
  if (!form.text.trim()) return `${task.label.replace(/\?$/, '')}: type something first.`
  if (task.key === 'ground' && !bracketed(form.text).phrases.length)
    return 'Mark at least one phrase with [square brackets], for example: [A dog] next to [a red car].'
  if (task.candidates && form.own && form.boxes.length < 2) return 'Draw at least two boxes on the picture to choose from.'
  return ''
}

// {method, path, fields: [[name, text]], pictures: [[part, picture]]}: a question as the server takes it.
export function requestOf(task, form, pictures) {
  const fields = []
  if (task.key === 'guess') fields.push(['dialogue', JSON.stringify(form.turns)])
  else if (task.key === 'ground') {
    const { caption, phrases } = bracketed(form.text)
    fields.push(['caption', caption], ['phrases', JSON.stringify(phrases)])
  } else fields.push([task.field, form.text.trim()])
  const head = headOf(task, form)
  if (task.heads?.length > 1 || task.key === 'gqa') fields.push(['task', head])
  if (task.candidates && form.own) fields.push(['boxes', JSON.stringify(form.boxes)])
  if (task.key === 'find') fields.push(['top', String(pictures.length)])
  if (form.explain) fields.push(['explain', 'true'])
  return { method: task.method, path: `v1/${task.method}`, fields, pictures: parts(task, pictures) }
}

function parts(task, pictures) {
  if (task.pictures === 2) return [['_a', pictures[0]], ['_b', pictures[1]]]
  if (task.pictures === Infinity) return pictures.map((picture) => ['s', picture])
  return [['', pictures[0]]]
}
