// Retrieval: every picture of the tray, ranked by how well the caption fits once it was asked.

import { html } from './vendor/preact.js'
import { percent, pictureFor } from './words.js'

export function Gallery({ pictures, result }) {
  const ranked = result?.status === 'answered' ? result.reply.ranked : []
  const placed = ranked.map((one) => ({ picture: pictureFor(one, pictures), share: one.probability }))
  const rest = pictures.filter((picture) => !placed.some((one) => one.picture === picture))
  const all = [...placed, ...rest.map((picture) => ({ picture }))]
  if (!all.length) return html`<p class="empty">No pictures yet: add some, or take all samples.</p>`
  return html`<ol class="gallery" aria-label=${placed.length ? 'Pictures, best first' : 'Pictures to search'}>
    ${all.map(
      ({ picture, share }, place) => html`<li key=${picture.id} class=${share !== undefined && place === 0 ? 'best' : ''}>
        <img src=${picture.url} alt=${picture.name} />
        ${share !== undefined &&
        html`<p><span>${place + 1}</span> ${percent(share)}
          <span class="bar" aria-hidden="true"><span style=${{ width: `${100 * share}%` }}></span></span></p>`}
      </li>`,
    )}
  </ol>`
}
