// Everything the page can do. Actions change the store; components only call them.

import { ask, getBlob, getModel, getSamples, look, Refused, useToken } from './api.js'
import { formOf, picturesOf, shownBy, withForm } from './store.js'
import { lacking, requestOf, SEVERAL, taskOf } from './tasks.js'
import { inWords } from './words.js'

const PAST = 30 // questions kept in the history; a page's memory, not an archive

export function createActions(store) {
  const { get, set } = store
  let underWay = null // AbortController of the question being answered
  let count = 0

  const patchPicture = (id, patch) =>
    set((state) => ({ pictures: state.pictures.map((old) => (old.id === id ? { ...old, ...patch } : old)) }))

  const setForm = (patch, task) => set((state) => withForm(state, patch, task))

  const setResult = (key, result) => set((state) => ({ results: { ...state.results, [key]: result }, hot: null }))

  const say = (said) => set({ said })

  const point = (hot) => hot !== get().hot && set({ hot })

  async function start() {
    const model = await getModel().catch((error) => {
      set({ modelError: error.message, locked: error.status === 401 })
      return null
    })
    set({ model, ...(model && { modelError: '', locked: false }) })
    if (!model) return
    const samples = await getSamples().catch((error) => {
      say(error.message)
      return []
    })
    set({ samples })
    if (samples.length && !get().pictures.length) await addSample(samples[0])
  }

  function unlock(token) {
    useToken(token)
    return start()
  }

  // Pictures enter the tray at once and are shown to the detector one after another, while the person types.
  async function addPictures(blobs) {
    const added = blobs.map(({ blob, name, sample = null }) => ({
      id: `p${(count += 1)}`, name, blob, sample, url: URL.createObjectURL(blob), status: 'looking', error: '', regions: [],
    }))
    if (!added.length) return
    set((state) => ({ pictures: [...state.pictures, ...added], pool: null }))
    choose(added[0].id)
    for (const picture of added) await lookAt(picture)
  }

  async function lookAt(picture) {
    try {
      const { picture: digest, width, height, regions } = await look(picture.blob, picture.name)
      patchPicture(picture.id, { status: 'ready', digest, width, height, regions })
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      patchPicture(picture.id, { status: 'refused', error: error.message })
      say(`${picture.name}: ${error.message}`)
    }
  }

  const addFiles = (files) => addPictures([...files].map((blob) => ({ blob, name: blob.name || 'pasted.png' })))

  const addSample = (sample) => addSamples([sample])

  async function addSamples(samples) {
    const there = new Map(get().pictures.map((picture) => [picture.sample?.name, picture]))
    const missing = samples.filter((sample) => !there.has(sample.name))
    if (samples.length === 1 && !missing.length) return choose(there.get(samples[0].name).id)
    if (!missing.length) return undefined
    const blobs = await Promise.all(
      missing.map(async (sample) => ({ blob: await getBlob(sample.url), name: `${sample.name}.jpg`, sample })),
    )
    return addPictures(blobs)
  }

  function choose(id) {
    const { task, slot } = get()
    if (taskOf(task).pictures !== 2) return set({ first: id, hot: null })
    return set(slot === 'second' ? { second: id, slot: 'first' } : { first: id, slot: 'second' })
  }

  const swap = () => set(({ first, second }) => ({ first: second, second: first }))

  function remove(id) {
    set((state) => {
      const gone = state.pictures.find((picture) => picture.id === id)
      URL.revokeObjectURL(gone.url)
      const pictures = state.pictures.filter((picture) => picture !== gone)
      const keep = (chosen) => (chosen === id ? null : chosen)
      return {
        pictures,
        first: keep(state.first) ?? pictures.at(-1)?.id ?? null,
        second: keep(state.second),
        pool: null,
        past: state.past.filter((entry) => !entry.pictures.includes(id)),
        said: `${gone.name} taken away.`,
      }
    })
  }

  // A tab chosen. Two pictures need a second one: the next in the tray, where there is one.
  function chooseTask(key) {
    set((state) => {
      const second = state.second ?? state.pictures.find((picture) => picture.id !== state.first)?.id ?? null
      return { task: key, hot: null, slot: 'first', second: taskOf(key).pictures === 2 ? second : state.second }
    })
  }

  async function submit() {
    const key = get().task
    if (key === 'several') return submitSeveral()
    if (key === 'guess') takeTurn()
    const state = get()
    underWay?.abort()
    underWay = new AbortController()
    await answer(taskOf(key), formOf(state, key), picturesOf(state, taskOf(key)), underWay.signal)
    return undefined
  }

  // What was typed as the next question of a dialogue becomes its last turn.
  function takeTurn() {
    const { text, answer, turns } = formOf(get(), 'guess')
    if (text.trim()) setForm({ text: '', turns: [...turns, [text.trim(), answer]] }, 'guess')
  }

  async function submitSeveral() {
    const state = get()
    const pictures = picturesOf(state, taskOf('several'))
    underWay?.abort()
    underWay = new AbortController()
    const { signal } = underWay
    const form = formOf(state, 'several')
    const rows = SEVERAL.filter((task) => form[task.key]?.trim())
    if (!rows.length) return setResult('several', { status: 'refused', shown: shownBy(pictures), error: 'Type at least one text.' })
    setResult('several', { status: 'several', shown: shownBy(pictures) })
    return Promise.all(
      rows.map((task) => answer(task, { ...formOf(state, task.key), text: form[task.key], own: false }, pictures, signal, `several/${task.key}`)),
    )
  }

  // Ask one thing; what comes, or why nothing comes, lands under its key.
  async function answer(task, form, pictures, signal, key = task.key) {
    const shown = shownBy(pictures)
    const lack = lacking(task, form, pictures)
    if (lack) return refuse(key, shown, lack)
    setResult(key, { status: 'asking', shown })
    try {
      await ready(pictures)
      const request = requestOf(task, form, pictures.map(({ id }) => get().pictures.find((picture) => picture.id === id)))
      const reply = await ask(request, signal)
      setResult(key, { status: 'answered', shown, request, reply })
      remember(task, form, pictures, key)
      return say(inWords(task, reply, pictures))
    } catch (error) {
      if (error.name === 'AbortError') return get().results[key]?.status === 'asking' && setResult(key, undefined)
      if (!(error instanceof Refused)) throw error
      return refuse(key, shown, error.message)
    }
  }

  function refuse(key, shown, error) {
    setResult(key, { status: 'refused', shown, error })
    say(error)
  }

  // Wait until the server has looked at all of these pictures.
  function ready(pictures) {
    const ids = new Set(pictures.map((picture) => picture.id))
    const settled = (state) => state.pictures.every((picture) => !ids.has(picture.id) || picture.status !== 'looking')
    const check = (state) => {
      const refused = state.pictures.find((picture) => ids.has(picture.id) && picture.status === 'refused')
      if (refused) throw new Refused(415, `${refused.name}: ${refused.error}`)
    }
    return new Promise((resolve, reject) => {
      const look = (state) => {
        if (!settled(state)) return false
        leave()
        try {
          resolve(check(state))
        } catch (error) {
          reject(error)
        }
        return true
      }
      let leave = () => {}
      if (!look(get())) leave = store.listen(look)
    })
  }

  const cancel = () => underWay?.abort()

  function remember(task, form, pictures, key) {
    const entry = { id: (count += 1), task: task.key, form, pictures: pictures.map((picture) => picture.id), result: get().results[key] }
    set((state) => ({ past: [entry, ...state.past].slice(0, PAST) }))
  }

  // Back to a question of the history: its pictures, its words, its answer.
  function comeBack(entry) {
    const [first, second] = entry.pictures
    const chosen = { 1: { first }, 2: { first, second } }[taskOf(entry.task).pictures] ?? { pool: entry.pictures }
    set({ task: entry.task, ...chosen })
    setForm(entry.form, entry.task)
    setResult(entry.task, entry.result)
  }

  // Take up a sample's suggestion: its pictures, its words, and ask.
  async function takeUp({ form, samples }) {
    if (samples) {
      await addSamples(get().samples.filter((sample) => samples.includes(sample.name)))
      const idOf = (name) => get().pictures.find((picture) => picture.sample?.name === name).id
      set({ first: idOf(samples[0]), second: idOf(samples[1]), slot: 'first' })
    }
    setForm(form)
    await submit()
  }

  return {
    start, unlock, addFiles, addSample, addSamples, choose, swap, remove, chooseTask, setForm, submit, cancel, comeBack, takeUp, point,
    setSlot: (slot) => set({ slot }), showSeen: (seen) => set({ seen }), say,
  }
}
