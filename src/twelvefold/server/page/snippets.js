// The request as curl and Python code.

import { html, useState } from './vendor/preact.js'

const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`

const python = (value) => (Array.isArray(value) ? `[${value.map(python).join(', ')}]` : JSON.stringify(value))

export function asCurl(request, origin) {
  const images = request.images.map(([part, image]) => `-F ${shell(`image${part}=@${image.name}`)}`)
  // -F would read a text that starts with @ or < as a file; --form-string does not.
  const fields = request.fields.map(([name, value]) => `--form-string ${shell(`${name}=${value}`)}`)
  return ['curl', ...images, ...fields, shell(`${origin}${request.path}`)].join(' \\\n  ')
}

export function asPython(request, source) {
  const field = Object.fromEntries(request.fields)
  const names = request.images.map(([, image]) => python(image.name))
  const load = `model = twelvefold.load(${source && python(source)})`
  if (request.method === 'answer') return asPythonRequest(field, names, load)
  const plain = { question: 1, phrase: 1, statement: 1, caption: 1, text: 1 }
  const texts = request.fields.filter(([name]) => plain[name]).map(([, value]) => python(value))
  const lists = ['dialogue', 'phrases'].filter((name) => field[name]).map((name) => python(JSON.parse(field[name])))
  const options = []
  if (field.boxes) options.push(`boxes=${python(JSON.parse(field.boxes))}`)
  if (field.task) options.push(`task=${python(field.task)}`)
  if (field.explain) options.push('explain=True')
  const images = request.method === 'find' ? [`[${names.join(', ')}]`] : names
  const order = request.method === 'find' ? [...texts, ...images] : [...images, ...texts, ...lists]
  const call = [...order, ...options].join(', ')
  const each = request.method === 'ground' ? 'for prediction in predictions:\n    print(prediction.best)' : 'print(prediction.best)'
  const result = request.method === 'ground' ? 'predictions' : 'prediction'
  return `import twelvefold\n\n${load}\n${result} = model.${request.method}(${call})\n${each}`
}

// A task without a method of its own is asked with a Request.
function asPythonRequest(field, names, load) {
  const images = names.map((name) => `load_image(${name})`).join(', ')
  const parts = [python(field.task), `(${images},)`, python(field.text ?? '')]
  if (field.boxes) parts.push(`boxes_px=${python(JSON.parse(field.boxes))}`)
  if (field.texts) parts.push(`texts=${python(JSON.parse(field.texts))}`)
  if (field.explain) parts.push('explain=True')
  const imports = 'import twelvefold\nfrom twelvefold.images import load_image\nfrom twelvefold.serving.request import Request'
  return `${imports}\n\n${load}\n[prediction] = model.answer([Request(${parts.join(', ')})])\nprint(prediction.best)`
}

function Snippet({ name, text }) {
  const [copied, setCopied] = useState(false)
  const copy = async () => {
    await navigator.clipboard.writeText(text)
    setCopied(true)
    setTimeout(() => setCopied(false), 2000)
  }
  return html`<div class="snippet">
    <pre tabindex="0" aria-label=${`${name} code`}><code>${text}</code></pre>
    <button type="button" class="quiet" onClick=${copy}>${copied ? 'Copied' : `Copy as ${name}`}</button>
  </div>`
}

export function Snippets({ request, model }) {
  const origin = new URL('.', location.href).href
  return html`<details class="code">
    <summary>This request as curl and Python code</summary>
    <${Snippet} name="curl" text=${asCurl(request, origin)} />
    <${Snippet} name="Python" text=${asPython(request, model.source)} />
  </details>`
}
