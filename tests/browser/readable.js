// What a person could not read or name on this page: texts of too little contrast (WCAG 2.2 AA), controls without a
// name, ids that stand twice, controls too small to hit (2.5.8). A list of sentences, empty where all is well.
() => {
  const problems = []
  const visible = (element) => element.checkVisibility({ visibilityProperty: true }) && element.getClientRects().length > 0
  const told = (element) => `<${element.tagName.toLowerCase()} class="${element.className}"> ${element.textContent.trim().slice(0, 40)}`

  const numbers = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number)
    if (!colour.startsWith('rgb')) throw new Error(`a colour as ${colour}`)
    return [r, g, b, a]
  }
  const over = ([r, g, b, a], [R, G, B]) => [a * r + (1 - a) * R, a * g + (1 - a) * G, a * b + (1 - a) * B]
  const ground = (element) => {
    if (!element) return [255, 255, 255]
    const colour = numbers(getComputedStyle(element).backgroundColor)
    return colour[3] === 1 ? colour.slice(0, 3) : over(colour, ground(element.parentElement))
  }
  const light = (rgb) => {
    const [r, g, b] = rgb.map((value) => (value <= 10.31475 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const contrast = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b)
    return (high + 0.05) / (low + 0.05)
  }
  const judge = (element, style) => {
    const size = parseFloat(style.fontSize)
    const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5
    const behind = ground(element)
    const got = contrast(over(numbers(style.color), behind), behind)
    if (got < needed) problems.push(`contrast ${got.toFixed(2)} below ${needed}: ${told(element)}`)
  }

  for (const element of document.querySelectorAll('body *')) {
    if (!visible(element) || element.closest('[aria-hidden="true"], :disabled')) continue
    if ([...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) judge(element, getComputedStyle(element))
    if (element.placeholder && !element.value) judge(element, getComputedStyle(element, '::placeholder'))
  }
  for (const control of document.querySelectorAll('button, input, select, a[href], summary, [tabindex="0"]')) {
    if (!visible(control)) continue
    const label = [...(control.labels ?? [])].map((one) => one.textContent).join(' ')
    const own = control.tagName === 'SELECT' ? '' : control.textContent
    if (!(control.getAttribute('aria-label') || label || own).trim()) problems.push(`no name: ${control.outerHTML.slice(0, 120)}`)
    const around = control.matches('[type="checkbox"], [type="radio"]') ? control.labels[0] : control // a label takes clicks too
    const { width, height } = around.getBoundingClientRect()
    const inText = control.tagName === 'A' && width > 24
    if (Math.min(width, height) < 24 && !inText && control.tagName !== 'SUMMARY') problems.push(`${width} x ${height} is too small: ${told(control)}`)
  }
  for (const image of document.querySelectorAll('img')) if (!image.hasAttribute('alt')) problems.push(`no alt: ${image.src}`)
  const ids = [...document.querySelectorAll('[id]')].map((element) => element.id)
  for (const id of new Set(ids)) if (ids.filter((other) => other === id).length > 1) problems.push(`id ${id} stands twice`)
  return problems
}
