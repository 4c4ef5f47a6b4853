// Requests to the server. Every failure becomes an ApiError with a message for people.

export class ApiError extends Error {
  constructor(status, message, code = '') {
    super(message)
    this.status = status
    this.code = code
  }
}

let token = '' // kept in this variable only

export function useToken(newToken) {
  token = newToken
}

async function call(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {}
  let response
  try {
    response = await fetch(path, { ...options, headers })
  } catch (error) {
    if (error.name === 'AbortError') throw error
    throw new ApiError(0, 'The server could not be reached. Is “twelvefold serve” still running?')
  }
  if (response.ok) return response
  let body = {}
  try {
    body = await response.json()
  } catch {
    // A proxy's error has no JSON body, so the message below uses the status alone.
  }
  const wait = response.headers.get('Retry-After')
  const message = body.what || `The server answered ${response.status} ${response.statusText}.`
  throw new ApiError(response.status, wait ? `${message} Try again in ${wait} s.` : message, body.error)
}

export const getModel = async () => (await call('v1/model')).json()

export const getSamples = async () => (await call('v1/samples')).json()

export const getBlob = async (path) => (await call(path)).blob()

// Upload an image and return {picture, width, height, regions}.
export async function detectRegions(blob, name, signal) {
  const form = new FormData()
  form.append('image', blob, name)
  return (await call('v1/pictures', { method: 'POST', body: form, signal })).json()
}

// Send a request of tasks.js. It refers to images by digest; upload them again once if the server has evicted one.
export async function ask(request, signal) {
  try {
    return await send(request, signal)
  } catch (error) {
    if (error.status !== 404) throw error
    await Promise.all(request.images.map(([, image]) => detectRegions(image.blob, image.name, signal)))
    return send(request, signal)
  }
}

async function send(request, signal) {
  const form = new FormData()
  for (const [part, image] of request.images) form.append(`picture${part}`, image.digest)
  for (const [name, value] of request.fields) form.append(name, value)
  return (await call(request.path, { method: 'POST', body: form, signal })).json()
}
