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

export function asPython(request) {
  const field = Object.fromEntries(request.fields)
  const names = request.images.map(([, image]) => python(image.name))
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
  return `import twelvefold\n\nmodel = twelvefold.load()\nprediction = model.${request.method}(${call})\nprint(prediction.best)`
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

export function Snippets({ request }) {
  const origin = new URL('.', location.href).href
  return html`<details class="code">
    <summary>This request as curl and Python code</summary>
    <${Snippet} name="curl" text=${asCurl(request, origin)} />
    <${Snippet} name="Python" text=${asPython(request)} />
  </details>`
}
