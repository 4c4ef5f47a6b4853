// The state of the page: one object that is replaced on every change. Listeners are called with the new state.

export function createStore(initial) {
  let state = initial
  const listeners = new Set()
  return {
    get: () => state,
    set(patch) {
      state = { ...state, ...(typeof patch === 'function' ? patch(state) : patch) }
      for (const listener of listeners) listener(state)
    },
    listen(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}

export const initialState = {
  model: null, //          the response of /v1/model
  tabs: [], //             its tabs, of tasks.js
  modelError: '',
  locked: false, //        the server needs a token
  samples: [], //          the response of /v1/samples
  images: [], //           the tray: {id, name, url, blob, sample, status, error, digest, width, height, regions}
  first: null, //          id of the image shown (the left one of two)
  second: null, //         id of the right image
  searchIds: null, //      ids of the images to search; null: all of the tray
  slot: 'first', //        the image that a click in the tray replaces: first or second
  task: null, //           key of the tab
  forms: {}, //            the inputs of each task
  imageForms: {}, //       the inputs of each task that belong to one image: drawn boxes, turns of a dialogue
  results: {}, //          by task: {status, imageIds, request, reply | error}
  hot: null, //            index of the answer under the pointer or with focus
  showRegions: false, //   whether the detected regions are drawn
  history: [], //          answered questions, newest first
  announcement: '', //     text for screen readers
}

const emptyForm = { text: '', head: '', explain: false, answer: 'Yes' }
const emptyImageForm = { useOwnBoxes: false, boxes: [], turns: [] }

export const formOf = (state, task = state.task) => ({
  ...emptyForm,
  ...state.forms[task],
  ...emptyImageForm,
  ...state.imageForms[`${task}/${state.first}`],
})

// Return the changes to the state when inputs change: boxes and turns belong to the image, the rest to the task.
export function withForm(state, patch, task = state.task) {
  const key = `${task}/${state.first}`
  const imageInputs = Object.entries(patch).filter(([name]) => name in emptyImageForm)
  const taskInputs = Object.entries(patch).filter(([name]) => !(name in emptyImageForm))
  return {
    forms: { ...state.forms, [task]: { ...state.forms[task], ...Object.fromEntries(taskInputs) } },
    imageForms: { ...state.imageForms, [key]: { ...state.imageForms[key], ...Object.fromEntries(imageInputs) } },
  }
}

// Return the selected images of a task.
export function imagesOf(state, task) {
  const byId = (id) => state.images.find((image) => image.id === id)
  if (task.images === 1) return [byId(state.first)].filter(Boolean)
  if (task.images === 2) return [byId(state.first), byId(state.second)].filter(Boolean)
  if (task.images < Infinity) return state.images.filter(({ status }) => status !== 'refused').slice(0, task.images)
  return state.images.filter(({ id, status }) => status !== 'refused' && (!state.searchIds || state.searchIds.includes(id)))
}

export const imageIdsOf = (images) => images.map((image) => image.id).join(' ')

// Return the result of a task if it is about the images that are selected now.
export function resultOf(state, task) {
  const result = state.results[task.key]
  return result?.imageIds === imageIdsOf(imagesOf(state, task)) ? result : null
}
