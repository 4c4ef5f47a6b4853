// The images of a search, ranked after it was answered.

import { html } from './vendor/preact.js'
import { percent, rankedImage } from './format.js'

export function Gallery({ images, result }) {
  const ranked = result?.status === 'answered' ? result.reply.ranked : []
  const rankedImages = ranked.map((rank) => ({ image: rankedImage(rank, images), probability: rank.probability }))
  const rest = images.filter((image) => !rankedImages.some((item) => item.image === image))
  const all = [...rankedImages, ...rest.map((image) => ({ image }))]
  if (!all.length) return html`<p class="empty">No images yet: add some, or add all samples.</p>`
  return html`<ol class="gallery" aria-label=${rankedImages.length ? 'Images, best first' : 'Images to search'}>
    ${all.map(
      ({ image, probability }, index) => html`<li key=${image.id} class=${probability !== undefined && index === 0 ? 'best' : ''}>
        <img src=${image.url} alt=${image.name} />
        ${probability !== undefined &&
        html`<p><span>${index + 1}</span> ${percent(probability)}
          <span class="bar" aria-hidden="true"><span style=${{ width: `${100 * probability}%` }}></span></span></p>`}
      </li>`,
    )}
  </ol>`
}
