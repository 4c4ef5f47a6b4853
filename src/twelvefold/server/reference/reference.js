// The API reference, generated from openapi.json: each operation with a form to try it and the same call as curl.

const FORM = 'multipart/form-data'

// Create an element with properties and children. Texts are never parsed as markup.
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties)
  element.append(...children)
  return element
}

const shell = (text) => `'${String(text).replaceAll("'", `'\\''`)}'`

const isFile = (field) => [field, field.items, ...(field.anyOf ?? []).flatMap((part) => [part, part.items])]
  .some((part) => part?.contentMediaType)

const isList = (field) => [field, ...(field.anyOf ?? [])].some((part) => part.type === 'array')

const withoutBackticks = (text) => text.replaceAll('`', '')

function resolveRef(spec, schema) {
  return schema?.$ref ? schema.$ref.slice(2).split('/').reduce((part, key) => part[key], spec) : schema
}

// Create the input of a field, with the value of the operation's example.
function createInput(name, field, required, example) {
  const type = isFile(field) ? 'file' : field.type === 'boolean' ? 'checkbox' : field.type === 'integer' ? 'number' : 'text'
  const input = make('input', { name, type, required, multiple: type === 'file' && isList(field) })
  const value = example ?? field.default ?? ''
  if (type === 'checkbox') input.checked = Boolean(value)
  else if (type !== 'file') input.value = Array.isArray(value) ? value.join(', ') : value
  const note = [required ? 'required' : '', withoutBackticks(field.description ?? ''), type === 'text' && isList(field) ? 'separate several with commas' : '']
  return make('label', {}, make('span', { textContent: name }), input, make('small', { textContent: note.filter(Boolean).join('; ') }))
}

// Return [[name, value or file]] of the inputs that differ from their defaults, without the example's image if a file
// is selected instead.
function readInputs(form, fields) {
  const inputs = [...form.querySelectorAll('input[name]')]
  const replaced = inputs.filter((input) => input.files?.length).map((input) => input.name.replace('image', 'picture'))
  return inputs.flatMap((input) => {
    const field = fields[input.name]
    if (replaced.includes(input.name) && !isList(field)) return []
    if (input.type === 'file') return [...input.files].map((file) => [input.name, file])
    if (input.type === 'checkbox') return input.checked === Boolean(field.default) ? [] : [[input.name, String(input.checked)]]
    if (input.value === '' || input.value === String(field.default ?? '')) return []
    return (isList(field) ? input.value.split(',').map((item) => item.trim()) : [input.value]).map((value) => [input.name, value])
  })
}

const token = () => document.querySelector('#token').value

function asCurl(method, url, pairs) {
  const parts = pairs.map(([name, value]) =>
    value instanceof File ? `-F ${shell(`${name}=@${value.name}`)}` : `--form-string ${shell(`${name}=${value}`)}`)
  if (token()) parts.unshift('-H "Authorization: Bearer $TOKEN"')
  return ['curl', ...(method === 'POST' && !pairs.length ? ['-X POST'] : []), ...parts, shell(url)].join(' \\\n  ')
}

// Indent JSON, but keep lists of numbers, such as boxes, on one line.
const indentJson = (value) => JSON.stringify(value, null, 1).replace(/\[\s+([-+\d.e]+(?:,\s+[-+\d.e]+)*)\s+\]/g, (_, list) => `[${list.replace(/\s+/g, ' ')}]`)

async function send(method, url, pairs) {
  const headers = token() ? { Authorization: `Bearer ${token()}` } : {}
  const body = new FormData()
  for (const [name, value] of pairs) body.append(name, value)
  const response = await fetch(url, { method, headers, ...(method === 'POST' ? { body } : {}) })
  const type = response.headers.get('Content-Type') ?? ''
  if (type.startsWith('image/')) return { response, content: make('img', { src: URL.createObjectURL(await response.blob()), alt: 'the sample' }) }
  const text = await response.text()
  const content = make('pre', { tabIndex: 0, textContent: type.includes('json') ? indentJson(JSON.parse(text)) : text })
  return { response, content }
}

function createForm(spec, path, method, operation) {
  const media = operation.requestBody?.content?.[FORM]
  const schema = resolveRef(spec, media?.schema) ?? { properties: {} }
  const pathFields = Object.fromEntries((operation.parameters ?? []).filter((field) => field.in === 'path').map((field) => [field.name, field]))
  const form = make('form')
  for (const field of Object.values(pathFields)) form.append(createInput(field.name, field.schema, true, field.example))
  for (const [name, field] of Object.entries(schema.properties))
    form.append(createInput(name, field, schema.required?.includes(name), media.example?.[name]))
  const output = make('div', { ariaLive: 'polite' })
  form.append(make('button', { type: 'submit', textContent: 'Try it' }), output)
  const fields = { ...schema.properties, ...Object.fromEntries(Object.entries(pathFields).map(([name, field]) => [name, field.schema])) }
  form.addEventListener('submit', async (event) => {
    event.preventDefault()
    const all = readInputs(form, fields)
    const values = new Map(all)
    const url = new URL(path.slice(1).replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(values.get(name))), location.href).href
    const pairs = all.filter(([name]) => !(name in pathFields))
    output.replaceChildren(make('pre', { tabIndex: 0, textContent: asCurl(method, url, pairs) }), make('p', { textContent: 'Waiting …' }))
    try {
      const { response, content } = await send(method, url, pairs)
      const status = make('p', { className: response.ok ? '' : 'failed', textContent: `${response.status} ${response.statusText}` })
      output.replaceChildren(output.firstChild, status, content)
    } catch (error) {
      output.replaceChildren(output.firstChild, make('p', { className: 'failed', textContent: `No answer: ${error.message}` }))
    }
  })
  return form
}

function createStatusTable(operation) {
  const rows = Object.entries(operation.responses).map(([status, { description }]) =>
    make('tr', {}, make('td', {}, make('code', { textContent: status })), make('td', { textContent: description })))
  return make('details', {}, make('summary', { textContent: 'Statuses' }), make('table', {}, ...rows))
}

function createOperation(spec, path, method, operation) {
  const summary = make('summary', {}, make('code', { textContent: `${method} ${path}` }), make('span', { textContent: ` ${withoutBackticks(operation.description ?? '')}` }))
  const details = make('details', { id: operation.operationId }, summary)
  details.addEventListener('toggle', () => details.open && details.childElementCount === 1 && details.append(createForm(spec, path, method, operation), createStatusTable(operation)))
  return details
}

const spec = await (await fetch('openapi.json')).json()
document.querySelector('#about').textContent = `${spec.info.description} Version ${spec.info.version}.`
const sections = new Map()
for (const [path, methods] of Object.entries(spec.paths))
  for (const [method, operation] of Object.entries(methods)) {
    const tag = operation.tags[0]
    sections.set(tag, [...(sections.get(tag) ?? []), createOperation(spec, path, method.toUpperCase(), operation)])
  }
const operations = document.querySelector('#operations')
operations.replaceChildren(...[...sections].map(([tag, parts]) => make('section', {}, make('h2', { textContent: tag }), ...parts)))
operations.querySelector('details').open = true
