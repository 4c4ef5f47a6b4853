// Download an answer: as a PNG with the boxes drawn, or as JSON.

import { html, useState } from './vendor/preact.js'
import { nameOf, percent, rankedImage } from './format.js'
import { answerMarks } from './image_view.js'
import { isSearch } from './tasks.js'

const MAX_SIDE = 1600 // pixels of the longest side of an image in the PNG
const MIN_WIDTH = 420 // pixels: small images are enlarged, so that the text below fits
const MAX_ANSWERS = 5 // answers below the image
const LINE = 26 // pixels
const COLORS = { best: '#ff6a1a', other: '#ffffff' }

const fileName = (task, suffix) => `twelvefold-${task.tab.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '')}.${suffix}`

function save(blob, name) {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(blob)
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}

// The question with its images by name and the whole reply, as the server sent it.
function asJson({ task, result, images }) {
  const { fields, method } = result.request
  const content = { method, ...Object.fromEntries(fields), images: images.map(({ name }) => name), tab: task.tab, reply: result.reply }
  return new Blob([JSON.stringify(content, null, 1), '\n'], { type: 'application/json' })
}

// The images of the picture: of a search the best one, else those of the question.
const drawnImages = ({ task, result, images }) => (isSearch(task) ? [rankedImage(result.reply.ranked[0], images)] : images)

function textLines({ task, result, images }) {
  const question = result.request.fields.filter(([name]) => !['task', 'top', 'explain', 'boxes'].includes(name)).map(([, value]) => value)
  const answers = result.reply.ranked.slice(0, MAX_ANSWERS).map((ranked, index) => {
    const name = isSearch(task) ? rankedImage(ranked, images).name : nameOf(ranked, index, result.reply, images)
    return `${name}   ${percent(ranked.probability)}`
  })
  return [question[0], ...answers]
}

async function load(image) {
  const picture = new Image()
  picture.src = image.url
  await picture.decode()
  return picture
}

function drawMark(canvas, { box, label, type }, scale, left) {
  const [x1, y1, x2, y2] = box.map((side) => side * scale)
  canvas.lineWidth = 5
  canvas.strokeStyle = 'rgb(0 0 0 / 65%)'
  canvas.strokeRect(left + x1, y1, x2 - x1, y2 - y1)
  canvas.lineWidth = 3
  canvas.strokeStyle = COLORS[type] ?? COLORS.other
  canvas.strokeRect(left + x1, y1, x2 - x1, y2 - y1)
  if (!label) return
  const width = canvas.measureText(label).width + 12
  const top = y1 < LINE ? y1 : y1 - LINE
  canvas.fillStyle = canvas.strokeStyle
  canvas.fillRect(left + x1 - 1, top, width, LINE)
  canvas.fillStyle = '#10131c'
  canvas.fillText(label, left + x1 + 5, top + LINE - 8)
}

// Cut a text that is wider than `width`.
function fit(canvas, text, width) {
  if (canvas.measureText(text).width <= width) return text
  let end = text.length
  while (end && canvas.measureText(`${text.slice(0, end)} …`).width > width) end -= 1
  return `${text.slice(0, end)} …`
}

async function asPng(view) {
  const images = drawnImages(view)
  const pictures = await Promise.all(images.map(load))
  const height = Math.min(MAX_SIDE, Math.max(...images.map((image) => Math.max(image.height, (MIN_WIDTH * image.height) / image.width / images.length))))
  const scales = images.map((image) => Math.min(height / image.height, MAX_SIDE / image.width))
  const widths = images.map((image, index) => Math.round(image.width * scales[index]))
  const lines = textLines(view)
  const element = document.createElement('canvas')
  element.width = Math.max(MIN_WIDTH, widths.reduce((sum, width) => sum + width, 0) + 8 * (images.length - 1))
  const below = Math.round(Math.max(...images.map((image, index) => image.height * scales[index])))
  element.height = below + LINE * lines.length + 20
  const canvas = element.getContext('2d')
  canvas.fillStyle = '#ffffff'
  canvas.fillRect(0, 0, element.width, element.height)
  canvas.font = '600 16px system-ui, sans-serif'
  let left = 0
  pictures.forEach((picture, index) => {
    canvas.drawImage(picture, left, 0, widths[index], Math.round(images[index].height * scales[index]))
    if (!index && !isSearch(view.task)) for (const mark of answerMarks(view.result, null)) drawMark(canvas, mark, scales[0], left)
    left += widths[index] + 8
  })
  canvas.fillStyle = '#1b2130'
  lines.forEach((line, index) => {
    canvas.font = `${index < 2 ? 600 : 400} 16px system-ui, sans-serif`
    canvas.fillText(fit(canvas, line, element.width - 24), 12, below + LINE * (index + 1))
  })
  return new Promise((resolve) => element.toBlob(resolve, 'image/png'))
}

export function Download(view) {
  const [error, setError] = useState('')
  if (!view.result.reply.ranked.length) return null
  const savePng = async () => {
    try {
      save(await asPng(view), fileName(view.task, 'png'))
      setError('')
    } catch {
      setError('Your browser cannot draw an image of this format. The JSON file has the boxes.')
    }
  }
  return html`<div class="download">
    <p class="row">
      <button type="button" class="quiet" onClick=${savePng}>Download as PNG</button>
      <button type="button" class="quiet" onClick=${() => save(asJson(view), fileName(view.task, 'json'))}>Download as JSON</button>
    </p>
    <p class="error" role="alert" hidden=${!error}>${error}</p>
  </div>`
}
