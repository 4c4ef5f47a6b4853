// List the accessibility problems of a page: too little contrast (WCAG 2.2 AA), controls without a name, duplicate ids,
// and controls that are too small (WCAG 2.5.8).
() => {
  const problems = []
  const visible = (element) => element.checkVisibility({ visibilityProperty: true }) && element.getClientRects().length > 0
  const describe = (element) => `<${element.tagName.toLowerCase()} class="${element.className}"> ${element.textContent.trim().slice(0, 40)}`

  const parseColor = (color) => {
    const [r, g, b, a = 1] = color.match(/[\d.]+/g).map(Number)
    if (!color.startsWith('rgb')) throw new Error(`unexpected color ${color}`)
    return [r, g, b, a]
  }
  const blend = ([r, g, b, a], [R, G, B]) => [a * r + (1 - a) * R, a * g + (1 - a) * G, a * b + (1 - a) * B]
  const background = (element) => {
    if (!element) return [255, 255, 255]
    const color = parseColor(getComputedStyle(element).backgroundColor)
    return color[3] === 1 ? color.slice(0, 3) : blend(color, background(element.parentElement))
  }
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((value) => (value <= 10.31475 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const contrast = (first, second) => {
    const [low, high] = [luminance(first), luminance(second)].sort((a, b) => a - b)
    return (high + 0.05) / (low + 0.05)
  }
  const checkContrast = (element, style) => {
    const size = parseFloat(style.fontSize)
    const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5
    const backdrop = background(element)
    const ratio = contrast(blend(parseColor(style.color), backdrop), backdrop)
    if (ratio < needed) problems.push(`contrast ${ratio.toFixed(2)} below ${needed}: ${describe(element)}`)
  }

  for (const element of document.querySelectorAll('body *')) {
    if (!visible(element) || element.closest('[aria-hidden="true"], :disabled')) continue
    if ([...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) checkContrast(element, getComputedStyle(element))
    if (element.placeholder && !element.value) checkContrast(element, getComputedStyle(element, '::placeholder'))
  }
  for (const control of document.querySelectorAll('button, input, select, a[href], summary, [tabindex="0"]')) {
    if (!visible(control)) continue
    const label = [...(control.labels ?? [])].map((element) => element.textContent).join(' ')
    const own = control.tagName === 'SELECT' ? '' : control.textContent
    if (!(control.getAttribute('aria-label') || label || own).trim()) problems.push(`no name: ${control.outerHTML.slice(0, 120)}`)
    const target = control.matches('[type="checkbox"], [type="radio"]') ? control.labels[0] : control // its label is clickable too
    const { width, height } = target.getBoundingClientRect()
    const inText = control.tagName === 'A' && width > 24
    if (Math.min(width, height) < 24 && !inText && control.tagName !== 'SUMMARY') problems.push(`${width} x ${height} is too small: ${describe(control)}`)
  }
  for (const image of document.querySelectorAll('img')) if (!image.hasAttribute('alt')) problems.push(`no alt: ${image.src}`)
  const ids = [...document.querySelectorAll('[id]')].map((element) => element.id)
  for (const id of new Set(ids)) if (ids.filter((other) => other === id).length > 1) problems.push(`id ${id} is used twice`)
  return problems
}
