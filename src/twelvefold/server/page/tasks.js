// The tabs of the page and their requests. The tabs are the model's own: the server describes each (`forms` of
// /v1/model) with the tasks that share it. The same request is sent and shown as curl and Python code.

const SEVERAL = {
  key: 'several', tab: 'Several at once', title: 'One image, several tasks at once', images: 1, verb: 'Ask all', input: 'rows',
  hint: 'One model answers all of them, each with the head of its task.', tasks: [],
}

const MAX_TOP = 100 // answers of one request, a limit of the server

// Return the tabs of a model: {key, tab, title, label, example, hint, verb, method, field, input, images, ...}.
export function tabsOf(model) {
  const tabs = model.forms.map((form) => ({ ...form, images: form.images ?? Infinity }))
  return rowsOf(tabs).length > 1 ? [...tabs, SEVERAL] : tabs
}

export const taskOf = (state, key = state.task) => state.tabs.find((task) => task.key === key)

// The rows of the tab “Several at once”: tasks with one image and one text.
export const rowsOf = (tabs) => tabs.filter((task) => task.images === 1 && task.input === 'text')

export const isSearch = (task) => task.images === Infinity

export const headOf = (task, form) => form.head || task.tasks[0]?.name || ''

const PHRASE = /\[([^\[\]]+)\]/g

// Split a caption with [phrases] into the caption without brackets and its phrases.
export function parsePhrases(text) {
  return {
    caption: text.replace(PHRASE, '$1').trim(),
    phrases: [...text.matchAll(PHRASE)].map((match) => match[1].trim()).filter(Boolean),
  }
}

const linesOf = (text) => text.split('\n').map((line) => line.trim()).filter(Boolean)

// Return what the form lacks, as a sentence, or an empty text.
export function missingInput(task, form, images, limits) {
  if (images.some((image) => image.status === 'refused')) return 'This image could not be read: select another.'
  if (images.length === 0) return 'Select an image first: drop one on the page, or add a sample.'
  if (task.images === 2 && images.length < 2) return 'This task needs two images: select one for each side.'
  if (isSearch(task)) return missingPool(images, limits) || missingText(task, form)
  if (images.length < task.images) return `This task reads ${task.images} images: add ${task.images - images.length} more.`
  return missingText(task, form)
}

function missingPool(images, limits) {
  if (images.length < 2) return 'Add at least two images to search.'
  const most = limits?.max_search_images ?? Infinity
  return images.length > most ? `A search ranks at most ${most} images, and the tray has ${images.length}: remove ${images.length - most}.` : ''
}

function missingText(task, form) {
  if (task.input === 'dialogue') return form.turns.length ? '' : 'Ask at least one question and select its answer.'
  if (!form.text.trim()) return `${task.label.replace(/\?$/, '')}: type something first.`
  if (task.input === 'texts' && linesOf(form.text).length < 2) return 'Type at least two texts to choose from, each on its own line.'
  if (task.input === 'phrases' && !parsePhrases(form.text).phrases.length)
    return 'Mark at least one phrase with [square brackets], for example: [A dog] next to [a red car].'
  if (task.candidates && form.useOwnBoxes && form.boxes.length < 2) return 'Draw at least two boxes on the image to choose from.'
  return ''
}

// Return the request for the server: {method, path, fields: [[name, text]], images: [[suffix, image]]}.
export function makeRequest(task, form, images) {
  const fields = textFields(task, form)
  if (task.takes_task) fields.push(['task', headOf(task, form)])
  if (task.candidates && form.useOwnBoxes) fields.push(['boxes', JSON.stringify(form.boxes)])
  if (isSearch(task)) fields.push(['top', String(Math.min(images.length, MAX_TOP))])
  if (form.explain) fields.push(['explain', 'true'])
  return { method: task.method, path: `v1/${task.method}`, fields, images: withFieldSuffixes(task, images) }
}

function textFields(task, form) {
  if (task.input === 'dialogue') return [[task.field, JSON.stringify(form.turns)]]
  if (task.input === 'texts') return [[task.field, JSON.stringify(linesOf(form.text))]]
  if (task.input !== 'phrases') return [[task.field, form.text.trim()]]
  const { caption, phrases } = parsePhrases(form.text)
  return [['caption', caption], ['phrases', JSON.stringify(phrases)]]
}

// The suffix of `image` or `picture` in the form field of each image.
function withFieldSuffixes(task, images) {
  if (isSearch(task) || task.method === 'answer') return images.map((image) => ['s', image])
  if (task.images === 2) return [['_a', images[0]], ['_b', images[1]]]
  return [['', images[0]]]
}
