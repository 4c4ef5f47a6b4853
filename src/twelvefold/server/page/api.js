// The server, as the page sees it. Every failure becomes a Refused whose message can be shown to a person.

export class Refused extends Error {
  constructor(status, message, code = '') {
    super(message)
    this.status = status
    this.code = code
  }
}

let token = '' // of a server that wants one; kept while the page is open, and nowhere else

export function useToken(given) {
  token = given
}

async function call(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {}
  let response
  try {
    response = await fetch(path, { ...options, headers })
  } catch (error) {
    if (error.name === 'AbortError') throw error
    throw new Refused(0, 'The server could not be reached. Is “twelvefold serve” still running?')
  }
  if (response.ok) return response
  let body = {}
  try {
    body = await response.json()
  } catch {
    // An error without JSON comes from something between here and the server: the status alone must say it.
  }
  const wait = response.headers.get('Retry-After')
  const what = body.what || `The server answered ${response.status} ${response.statusText}.`
  throw new Refused(response.status, wait ? `${what} Try again in ${wait} s.` : what, body.error)
}

export const getModel = async () => (await call('v1/model')).json()

export const getSamples = async () => (await call('v1/samples')).json()

export const getBlob = async (path) => (await call(path)).blob()

// Upload a picture: {picture, width, height, regions}.
export async function look(blob, name, signal) {
  const form = new FormData()
  form.append('image', blob, name)
  return (await call('v1/pictures', { method: 'POST', body: form, signal })).json()
}

// Ask a request of tasks.js. Pictures go by digest; one that the server no longer keeps is uploaded again, once.
export async function ask(request, signal) {
  try {
    return await send(request, signal)
  } catch (error) {
    if (error.status !== 404) throw error
    await Promise.all(request.pictures.map(([, picture]) => look(picture.blob, picture.name, signal)))
    return send(request, signal)
  }
}

async function send(request, signal) {
  const form = new FormData()
  for (const [part, picture] of request.pictures) form.append(`picture${part}`, picture.digest)
  for (const [name, value] of request.fields) form.append(name, value)
  return (await call(request.path, { method: 'POST', body: form, signal })).json()
}
