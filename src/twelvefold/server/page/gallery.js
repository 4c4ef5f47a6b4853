// The images of a search, ranked after it was answered.

import { html } from './vendor/preact.js'
import { percent, rankedImage } from './format.js'
import { isSearch } from './tasks.js'

export function Gallery({ task, images, result }) {
  const ranked = isSearch(task) && result?.status === 'answered' ? result.reply.ranked : []
  const rankedImages = ranked.map((rank) => ({ image: rankedImage(rank, images), probability: rank.probability }))
  const rest = images.filter((image) => !rankedImages.some((item) => item.image === image))
  const all = [...rankedImages, ...rest.map((image) => ({ image }))]
  if (!all.length) return html`<p class="empty">No images yet: add some, or add all samples.</p>`
  return html`<ol class="gallery" aria-label=${rankedImages.length ? 'Images, best first' : isSearch(task) ? 'Images to search' : 'Images of the question'}>
    ${all.map(
      ({ image, probability }, index) => html`<li key=${image.id} class=${probability !== undefined && index === 0 ? 'best' : ''}>
        <img src=${image.url} alt=${image.name} />
        ${probability !== undefined &&
        html`<p><span>${index + 1}</span> ${percent(probability)}
          <span class="bar" aria-hidden="true"><span style=${{ width: `${100 * probability}%` }}></span></span></p>`}
        ${probability === undefined && rankedImages.length > 0 && html`<p>not among the first ${rankedImages.length}</p>`}
      </li>`,
    )}
  </ol>`
}
