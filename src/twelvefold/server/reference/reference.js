// The reference, made from openapi.json: each operation with its fields, a form to try it, and the same call as curl.

const FORM = 'multipart/form-data'

// An element with properties and children; texts are texts, never markup.
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties)
  element.append(...children)
  return element
}

const shell = (text) => `'${String(text).replaceAll("'", `'\\''`)}'`

const isFile = (field) => [field, field.items, ...(field.anyOf ?? []).flatMap((one) => [one, one.items])]
  .some((one) => one?.contentMediaType)

const isMany = (field) => [field, ...(field.anyOf ?? [])].some((one) => one.type === 'array')

const bare = (text) => text.replaceAll('`', '')

function resolved(spec, schema) {
  return schema?.$ref ? schema.$ref.slice(2).split('/').reduce((part, key) => part[key], spec) : schema
}

// One input of a form, prefilled from the operation's example.
function fieldOf(name, field, wanted, example) {
  const kind = isFile(field) ? 'file' : field.type === 'boolean' ? 'checkbox' : field.type === 'integer' ? 'number' : 'text'
  const input = make('input', { name, type: kind, required: wanted, multiple: kind === 'file' && isMany(field) })
  const value = example ?? field.default ?? ''
  if (kind === 'checkbox') input.checked = Boolean(value)
  else if (kind !== 'file') input.value = Array.isArray(value) ? value.join(', ') : value
  const note = [wanted ? 'needed' : '', bare(field.description ?? ''), kind === 'text' && isMany(field) ? 'several: with commas' : '']
  return make('label', {}, make('span', { textContent: name }), input, make('small', { textContent: note.filter(Boolean).join('; ') }))
}

// [[name, value or file]] of what is filled in; what stands at its default is left out, as is the example's picture
// where a file was chosen in its place.
function filled(form, fields) {
  const inputs = [...form.querySelectorAll('input[name]')]
  const replaced = inputs.filter((input) => input.files?.length).map((input) => input.name.replace('image', 'picture'))
  return inputs.flatMap((input) => {
    const field = fields[input.name]
    if (replaced.includes(input.name) && !isMany(field)) return []
    if (input.type === 'file') return [...input.files].map((file) => [input.name, file])
    if (input.type === 'checkbox') return input.checked === Boolean(field.default) ? [] : [[input.name, String(input.checked)]]
    if (input.value === '' || input.value === String(field.default ?? '')) return []
    return (isMany(field) ? input.value.split(',').map((one) => one.trim()) : [input.value]).map((one) => [input.name, one])
  })
}

const token = () => document.querySelector('#token').value

function asCurl(method, url, pairs) {
  const parts = pairs.map(([name, value]) =>
    value instanceof File ? `-F ${shell(`${name}=@${value.name}`)}` : `--form-string ${shell(`${name}=${value}`)}`)
  if (token()) parts.unshift('-H "Authorization: Bearer $TOKEN"')
  return ['curl', ...(method === 'POST' && !pairs.length ? ['-X POST'] : []), ...parts, shell(url)].join(' \\\n  ')
}

// Lists of numbers on one line: boxes are read as a whole.
const indented = (value) => JSON.stringify(value, null, 1).replace(/\[\s+([-+\d.e]+(?:,\s+[-+\d.e]+)*)\s+\]/g, (_, list) => `[${list.replace(/\s+/g, ' ')}]`)

async function answerOf(method, url, pairs) {
  const headers = token() ? { Authorization: `Bearer ${token()}` } : {}
  const body = new FormData()
  for (const [name, value] of pairs) body.append(name, value)
  const response = await fetch(url, { method, headers, ...(method === 'POST' ? { body } : {}) })
  const type = response.headers.get('Content-Type') ?? ''
  if (type.startsWith('image/')) return { response, shown: make('img', { src: URL.createObjectURL(await response.blob()), alt: 'the sample' }) }
  const text = await response.text()
  const shown = make('pre', { tabIndex: 0, textContent: type.includes('json') ? indented(JSON.parse(text)) : text })
  return { response, shown }
}

function formOf(spec, path, method, operation) {
  const media = operation.requestBody?.content?.[FORM]
  const schema = resolved(spec, media?.schema) ?? { properties: {} }
  const inPath = Object.fromEntries((operation.parameters ?? []).filter((one) => one.in === 'path').map((one) => [one.name, one]))
  const form = make('form')
  for (const one of Object.values(inPath)) form.append(fieldOf(one.name, one.schema, true, one.example))
  for (const [name, field] of Object.entries(schema.properties))
    form.append(fieldOf(name, field, schema.required?.includes(name), media.example?.[name]))
  const came = make('div', { ariaLive: 'polite' })
  form.append(make('button', { type: 'submit', textContent: 'Try it' }), came)
  const fields = { ...schema.properties, ...Object.fromEntries(Object.entries(inPath).map(([name, one]) => [name, one.schema])) }
  form.addEventListener('submit', async (event) => {
    event.preventDefault()
    const all = filled(form, fields)
    const named = new Map(all)
    const url = new URL(path.slice(1).replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(named.get(name))), location.href).href
    const pairs = all.filter(([name]) => !(name in inPath))
    came.replaceChildren(make('pre', { tabIndex: 0, textContent: asCurl(method, url, pairs) }), make('p', { textContent: 'Asking …' }))
    try {
      const { response, shown } = await answerOf(method, url, pairs)
      const said = make('p', { className: response.ok ? '' : 'failed', textContent: `${response.status} ${response.statusText}` })
      came.replaceChildren(came.firstChild, said, shown)
    } catch (error) {
      came.replaceChildren(came.firstChild, make('p', { className: 'failed', textContent: `No answer: ${error.message}` }))
    }
  })
  return form
}

function statuses(operation) {
  const rows = Object.entries(operation.responses).map(([status, one]) =>
    make('tr', {}, make('td', {}, make('code', { textContent: status })), make('td', { textContent: one.description })))
  return make('details', {}, make('summary', { textContent: 'Statuses' }), make('table', {}, ...rows))
}

function shown(spec, path, method, operation) {
  const summary = make('summary', {}, make('code', { textContent: `${method} ${path}` }), make('span', { textContent: ` ${bare(operation.description ?? '')}` }))
  const details = make('details', { id: operation.operationId }, summary)
  details.addEventListener('toggle', () => details.open && details.childElementCount === 1 && details.append(formOf(spec, path, method, operation), statuses(operation)))
  return details
}

const spec = await (await fetch('openapi.json')).json()
document.querySelector('#about').textContent = `${spec.info.description} Version ${spec.info.version}.`
const groups = new Map()
for (const [path, methods] of Object.entries(spec.paths))
  for (const [method, operation] of Object.entries(methods)) {
    const tag = operation.tags[0]
    groups.set(tag, [...(groups.get(tag) ?? []), shown(spec, path, method.toUpperCase(), operation)])
  }
const operations = document.querySelector('#operations')
operations.replaceChildren(...[...groups].map(([tag, parts]) => make('section', {}, make('h2', { textContent: tag }), ...parts)))
operations.querySelector('details').open = true
