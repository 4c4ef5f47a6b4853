// The actions of the page. They change the store, and components only call them.

import { ask, getBlob, getModel, getSamples, detectRegions, ApiError, useToken } from './api.js'
import { formOf, imagesOf, imageIdsOf, withForm } from './store.js'
import { isSearch, missingInput, makeRequest, rowsOf, tabsOf, taskOf } from './tasks.js'
import { describeReply } from './format.js'

const MAX_HISTORY = 30 // questions in the history

export function createActions(store) {
  const { get, set } = store
  let pending = null // AbortController of the question being answered
  let count = 0

  const patchImage = (id, patch) =>
    set((state) => ({ images: state.images.map((old) => (old.id === id ? { ...old, ...patch } : old)) }))

  const setForm = (patch, task) => set((state) => withForm(state, patch, task))

  const setResult = (key, result) => set((state) => ({ results: { ...state.results, [key]: result }, hot: null }))

  const announce = (announcement) => set({ announcement })

  const point = (hot) => hot !== get().hot && set({ hot })

  async function start() {
    const model = await getModel().catch((error) => {
      set({ modelError: error.message, locked: error.status === 401 })
      return null
    })
    if (!model) return set({ model })
    const tabs = tabsOf(model)
    set(({ task }) => ({ model, tabs, task: task ?? tabs[0]?.key ?? null, modelError: '', locked: false }))
    if (!tabs.length) return undefined
    const samples = await getSamples().catch((error) => {
      announce(error.message)
      return []
    })
    set({ samples })
    if (samples.length && !get().images.length) await addSample(samples[0])
    return undefined
  }

  function unlock(token) {
    useToken(token)
    return start()
  }

  // Images appear in the tray at once; the server then detects their regions one after another.
  async function addImages(blobs) {
    const added = blobs.map(({ blob, name, sample = null }) => ({
      id: `p${(count += 1)}`, name, blob, sample, url: URL.createObjectURL(blob), status: 'detecting', error: '', regions: [],
    }))
    if (!added.length) return
    set((state) => ({ images: [...state.images, ...added], searchIds: null }))
    choose(added[0].id)
    for (const image of added) if (get().images.some(({ id }) => id === image.id)) await detectImage(image)
  }

  async function detectImage(image) {
    try {
      const { picture: digest, width, height, regions } = await detectRegions(image.blob, image.name)
      patchImage(image.id, { status: 'ready', digest, width, height, regions })
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      patchImage(image.id, { status: 'refused', error: error.message })
      announce(`${image.name}: ${error.message}`)
    }
  }

  const addFiles = (files) => addImages([...files].map((blob) => ({ blob, name: blob.name || 'pasted.png' })))

  const addSample = (sample) => addSamples([sample])

  async function addSamples(samples) {
    const present = new Map(get().images.map((image) => [image.sample?.name, image]))
    const missing = samples.filter((sample) => !present.has(sample.name))
    if (samples.length === 1 && !missing.length) return choose(present.get(samples[0].name).id)
    if (!missing.length) return undefined
    const blobs = await Promise.all(
      missing.map(async (sample) => ({ blob: await getBlob(sample.url), name: `${sample.name}.jpg`, sample })),
    )
    return addImages(blobs)
  }

  function choose(id) {
    const { slot } = get()
    if (taskOf(get())?.images !== 2) return set({ first: id, hot: null })
    return set(slot === 'second' ? { second: id, slot: 'first' } : { first: id, slot: 'second' })
  }

  const swap = () => set(({ first, second }) => ({ first: second, second: first }))

  function remove(id) {
    set((state) => {
      const removed = state.images.find((image) => image.id === id)
      URL.revokeObjectURL(removed.url)
      const images = state.images.filter((image) => image !== removed)
      const keep = (chosen) => (chosen === id ? null : chosen)
      return {
        images,
        first: keep(state.first) ?? images.at(-1)?.id ?? null,
        second: keep(state.second),
        searchIds: null,
        history: state.history.filter((entry) => !entry.images.includes(id)),
        announcement: `${removed.name} removed.`,
      }
    })
  }

  function removeAll() {
    pending?.abort()
    for (const image of get().images) URL.revokeObjectURL(image.url)
    set({ images: [], first: null, second: null, searchIds: null, slot: 'first', results: {}, imageForms: {}, history: [], hot: null, announcement: 'All images removed.' })
  }

  // Select a tab. A task with two images takes the next image of the tray as the second one.
  function chooseTask(key) {
    set((state) => {
      const second = state.second ?? state.images.find((image) => image.id !== state.first)?.id ?? null
      return { task: key, hot: null, slot: 'first', second: taskOf(state, key).images === 2 ? second : state.second }
    })
  }

  async function submit() {
    const task = taskOf(get())
    if (task.input === 'rows') return submitMultiTask()
    if (task.input === 'dialogue') addTurn(task.key)
    const state = get()
    pending?.abort()
    pending = new AbortController()
    await answer(task, formOf(state, task.key), imagesOf(state, task), pending.signal)
    return undefined
  }

  // Append the typed question and the selected answer to the dialogue.
  function addTurn(key) {
    const { text, answer, turns } = formOf(get(), key)
    if (text.trim()) setForm({ text: '', turns: [...turns, [text.trim(), answer]] }, key)
  }

  async function submitMultiTask() {
    const state = get()
    const images = imagesOf(state, taskOf(state, 'several'))
    pending?.abort()
    pending = new AbortController()
    const { signal } = pending
    const form = formOf(state, 'several')
    const rows = rowsOf(state.tabs).filter((task) => form[task.key]?.trim())
    if (!rows.length) return setResult('several', { status: 'refused', imageIds: imageIdsOf(images), error: 'Type at least one text.' })
    setResult('several', { status: 'several', imageIds: imageIdsOf(images) })
    return Promise.all(
      rows.map((task) => answer(task, { ...formOf(state, task.key), text: form[task.key], useOwnBoxes: false }, images, signal, `several/${task.key}`)),
    )
  }

  // Send one question and store its answer, or its error, under `key`.
  async function answer(task, form, images, signal, key = task.key) {
    const imageIds = imageIdsOf(images)
    const missing = missingInput(task, form, images, get().model.limits)
    if (missing) return refuse(key, imageIds, missing)
    setResult(key, { status: 'pending', imageIds })
    try {
      await ready(images)
      const request = makeRequest(task, form, images.map(({ id }) => get().images.find((image) => image.id === id)))
      const reply = await ask(request, signal)
      setResult(key, { status: 'answered', imageIds, request, reply })
      remember(task, form, images, key)
      return announce(describeReply(task, reply, images))
    } catch (error) {
      if (error.name === 'AbortError') return get().results[key]?.status === 'pending' && setResult(key, undefined)
      if (!(error instanceof ApiError)) throw error
      return refuse(key, imageIds, error.message)
    }
  }

  function refuse(key, imageIds, error) {
    setResult(key, { status: 'refused', imageIds, error })
    announce(error)
  }

  // Wait until the server has detected the regions of all these images.
  function ready(images) {
    const ids = new Set(images.map((image) => image.id))
    const settled = (state) => state.images.every((image) => !ids.has(image.id) || image.status !== 'detecting')
    const check = (state) => {
      const refused = state.images.find((image) => ids.has(image.id) && image.status === 'refused')
      if (refused) throw new ApiError(415, `${refused.name}: ${refused.error}`)
    }
    return new Promise((resolve, reject) => {
      const resolveIfSettled = (state) => {
        if (!settled(state)) return false
        unsubscribe()
        try {
          resolve(check(state))
        } catch (error) {
          reject(error)
        }
        return true
      }
      let unsubscribe = () => {}
      if (!resolveIfSettled(get())) unsubscribe = store.listen(resolveIfSettled)
    })
  }

  const cancel = () => pending?.abort()

  function remember(task, form, images, key) {
    const entry = { id: (count += 1), task: task.key, form, images: images.map((image) => image.id), result: get().results[key] }
    set((state) => ({ history: [entry, ...state.history].slice(0, MAX_HISTORY) }))
  }

  // Show a question of the history again, with its images, text and answer.
  function restore(entry) {
    const [first, second] = entry.images
    const task = taskOf(get(), entry.task)
    const chosen = { 1: { first }, 2: { first, second } }[task.images] ?? (isSearch(task) ? { searchIds: entry.images } : {})
    set({ task: entry.task, ...chosen })
    setForm(entry.form, entry.task)
    setResult(entry.task, entry.result)
  }

  // Ask a suggested question about its samples.
  async function useSuggestion({ form, samples }) {
    if (samples) {
      await addSamples(get().samples.filter((sample) => samples.includes(sample.name)))
      const idOf = (name) => get().images.find((image) => image.sample?.name === name).id
      set({ first: idOf(samples[0]), second: idOf(samples[1]), slot: 'first' })
    }
    setForm(form)
    await submit()
  }

  return {
    start, unlock, addFiles, addSample, addSamples, choose, swap, remove, removeAll, chooseTask, setForm, submit, cancel, restore, useSuggestion, point,
    setSlot: (slot) => set({ slot }), setShowRegions: (showRegions) => set({ showRegions }), announce,
  }
}
