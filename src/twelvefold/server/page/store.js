// The page's state: one plain object, replaced and never changed in place, and whoever listens draws it anew.

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
  model: null, //          what /v1/model says
  modelError: '',
  locked: false, //        the server wants a token
  samples: [], //          what /v1/samples lists
  pictures: [], //         the tray: {id, name, url, blob, sample, status, error, digest, width, height, regions}
  first: null, //          id of the picture on the stage (A where there are two)
  second: null, //         id of picture B
  pool: null, //          ids that retrieval searches; null: all of the tray
  slot: 'first', //        which of the two a click in the tray fills
  task: 'ask', //          key of the tab
  forms: {}, //            what was typed, by task: never lost by switching
  marks: {}, //            what was said of one picture, by task and picture: drawn boxes, turns of a dialogue
  results: {}, //          what came, by task: {status, shown, request, reply | error}
  hot: null, //            index of the answer pointed at, by mouse or focus
  seen: false, //          whether the detector's boxes are drawn
  past: [], //             answered questions, newest first
  said: '', //             what a screen reader is told
}

const emptyForm = { text: '', head: '', explain: false, answer: 'Yes' }
const emptyMarks = { own: false, boxes: [], turns: [] }

export const formOf = (state, task = state.task) => ({
  ...emptyForm,
  ...state.forms[task],
  ...emptyMarks,
  ...state.marks[`${task}/${state.first}`],
})

// The state with a form changed: boxes and turns go to the picture, the rest to the task.
export function withForm(state, patch, task = state.task) {
  const place = `${task}/${state.first}`
  const ofPicture = Object.entries(patch).filter(([name]) => name in emptyMarks)
  const ofTask = Object.entries(patch).filter(([name]) => !(name in emptyMarks))
  return {
    forms: { ...state.forms, [task]: { ...state.forms[task], ...Object.fromEntries(ofTask) } },
    marks: { ...state.marks, [place]: { ...state.marks[place], ...Object.fromEntries(ofPicture) } },
  }
}

// The pictures that a task is about now, as far as they are chosen.
export function picturesOf(state, task) {
  const byId = (id) => state.pictures.find((picture) => picture.id === id)
  if (task.pictures === 1) return [byId(state.first)].filter(Boolean)
  if (task.pictures === 2) return [byId(state.first), byId(state.second)].filter(Boolean)
  return state.pictures.filter(({ id, status }) => status !== 'refused' && (!state.pool || state.pool.includes(id)))
}

export const shownBy = (pictures) => pictures.map((picture) => picture.id).join(' ')

// The result of a task, while the pictures it is about are the ones shown.
export function resultOf(state, task) {
  const result = state.results[task.key]
  return result?.shown === shownBy(picturesOf(state, task)) ? result : null
}
