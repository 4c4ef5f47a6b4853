// The tasks of the page: their texts, the number of images they need, and their requests. The same request is sent
// and shown as curl and Python code.

export const TASKS = [
  {
    key: 'ask', tab: 'Question', title: 'Ask a question about the image', method: 'ask', field: 'question',
    label: 'Your question', example: 'What color is the dog?', images: 1, verb: 'Ask',
    heads: [['vqav2', 'VQAv2'], ['vgqa', 'VG QA']],
    hint: 'Any question about colors, counts, positions, or yes and no. The answer comes from a fixed list.',
  },
  {
    key: 'gqa', tab: 'Reasoning', title: 'Ask a question that takes several steps', method: 'ask', field: 'question',
    label: 'Your question', example: 'Is the animal next to the tree red?', images: 1, verb: 'Ask',
    heads: [['gqa', 'GQA']],
    hint: 'Questions about relations, attributes and logic, as in GQA.',
  },
  {
    key: 'point', tab: 'Point at', title: 'Point at what a phrase describes', method: 'point', field: 'phrase',
    label: 'What should it point at?', example: 'the red car on the left', images: 1, verb: 'Point', boxes: true,
    heads: [['refcoco', 'RefCOCO'], ['refcoco+', 'RefCOCO+ (no positions)'], ['refcocog', 'RefCOCOg (long)']],
    hint: 'Describe one object; the model finds its box.',
  },
  {
    key: 'choose', tab: 'Which one?', title: 'Answer a “which” question with a box', method: 'choose', field: 'question',
    label: 'A “which” question', example: 'Which one can fly?', images: 1, verb: 'Ask', boxes: true, candidates: true,
    heads: [['visual7w', 'Visual7W']],
    hint: 'As in Visual7W: the answer is one of several boxes, detected or drawn by you.',
  },
  {
    key: 'guess', tab: 'Dialogue', title: 'Guess the object of a dialogue', method: 'guess', field: 'dialogue',
    label: 'Next question', example: 'Is it an animal?', images: 1, verb: 'Add turn', boxes: true, candidates: true,
    heads: [['guesswhat', 'GuessWhat?!']],
    hint: 'As in GuessWhat?!: think of an object and answer questions with yes, no or n/a. The model guesses again after each turn.',
  },
  {
    key: 'ground', tab: 'Phrases', title: 'Find every phrase of a caption', method: 'ground', field: 'caption',
    label: 'Caption', example: 'A dog next to a red car', images: 1, verb: 'Ground', boxes: true,
    hint: 'Mark phrases with [square brackets]; the model finds a box for each.',
  },
  {
    key: 'entails', tab: 'Entailment', title: 'Does the image entail a statement?', method: 'entails',
    field: 'statement', label: 'Statement', example: 'Two animals are outdoors.', images: 1, verb: 'Judge',
    heads: [['snli_ve', 'SNLI-VE']],
    hint: 'As in SNLI-VE: entailment (true), contradiction (false), or neutral (the image does not show it).',
  },
  {
    key: 'compare', tab: 'Two images', title: 'Is a statement true of two images?', method: 'compare',
    field: 'statement', label: 'Statement about both', example: 'Both images contain a dog.', images: 2,
    verb: 'Judge', heads: [['nlvr2', 'NLVR2']],
    hint: 'As in NLVR2. Use “the left image”, “the right image”, “both” or “one”.',
  },
  {
    key: 'find', tab: 'Find by caption', title: 'Find the image that a caption describes', method: 'find',
    field: 'text', label: 'Caption', example: 'A red car beside a tree.', images: Infinity, verb: 'Find',
    heads: [['coco', 'COCO'], ['flickr30k', 'Flickr30k']],
    hint: 'Rank all images below by how well the caption describes them.',
  },
  {
    key: 'several', tab: 'Several at once', title: 'One image, several tasks at once', images: 1, verb: 'Ask all',
    hint: 'One model answers all of them, each with the head of its task.',
  },
]

export const taskOf = (key) => TASKS.find((task) => task.key === key)

// The rows of the tab “Several at once”: tasks with one image and one text.
export const MULTI_TASKS = ['ask', 'gqa', 'point', 'choose', 'entails'].map(taskOf)

export const headOf = (task, form) => form.head || task.heads?.[0][0] || ''

const PHRASE = /\[([^\[\]]+)\]/g

// Split a caption with [phrases] into the caption without brackets and its phrases.
export function parsePhrases(text) {
  return {
    caption: text.replace(PHRASE, '$1').trim(),
    phrases: [...text.matchAll(PHRASE)].map((match) => match[1].trim()).filter(Boolean),
  }
}

// Return what the form lacks, as a sentence, or an empty text.
export function missingInput(task, form, images) {
  if (images.some((image) => image.status === 'refused')) return 'This image could not be read: select another.'
  if (images.length === 0) return 'Select an image first: drop one on the page, or add a sample.'
  if (task.images === 2 && images.length < 2) return 'This task needs two images: select one for each side.'
  if (task.key === 'find' && images.length < 2) return 'Add at least two images to search.'
  if (task.key === 'guess') return form.turns.length ? '' : 'Ask at least one question and select its answer.'
  if (!form.text.trim()) return `${task.label.replace(/\?$/, '')}: type something first.`
  if (task.key === 'ground' && !parsePhrases(form.text).phrases.length)
    return 'Mark at least one phrase with [square brackets], for example: [A dog] next to [a red car].'
  if (task.candidates && form.useOwnBoxes && form.boxes.length < 2) return 'Draw at least two boxes on the image to choose from.'
  return ''
}

// Return the request for the server: {method, path, fields: [[name, text]], images: [[suffix, image]]}.
export function makeRequest(task, form, images) {
  const fields = []
  if (task.key === 'guess') fields.push(['dialogue', JSON.stringify(form.turns)])
  else if (task.key === 'ground') {
    const { caption, phrases } = parsePhrases(form.text)
    fields.push(['caption', caption], ['phrases', JSON.stringify(phrases)])
  } else fields.push([task.field, form.text.trim()])
  const head = headOf(task, form)
  if (task.heads?.length > 1 || task.key === 'gqa') fields.push(['task', head])
  if (task.candidates && form.useOwnBoxes) fields.push(['boxes', JSON.stringify(form.boxes)])
  if (task.key === 'find') fields.push(['top', String(images.length)])
  if (form.explain) fields.push(['explain', 'true'])
  return { method: task.method, path: `v1/${task.method}`, fields, images: withFieldSuffixes(task, images) }
}

// The suffix of `image` or `picture` in the form field of each image.
function withFieldSuffixes(task, images) {
  if (task.images === 2) return [['_a', images[0]], ['_b', images[1]]]
  if (task.images === Infinity) return images.map((image) => ['s', image])
  return [['', images[0]]]
}
