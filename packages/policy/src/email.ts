const LONGEST = 254
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/
const LOCAL = /^[!-?A-~]{1,64}$/

export interface Email {
  /** Lower case. */
  readonly local: string
  /** Lower case, at least two labels; an international one as its A-labels (`xn--…`). */
  readonly domain: string
}

/**
 * Reads an address to compare it: `local@domain`, ASCII, in lower case.
 *
 * Everything that two programs may read in two ways is no address here: several `@`, a dot at the end, quotes around the local
 * part, letters outside ASCII (look-alikes, and those that lower case or normalisation turn into other letters).
 */
export function readEmail(text: string): Email | undefined {
  if (text.length > LONGEST) return undefined
  const [local = '', domain = '', ...more] = text.split('@')
  if (more.length > 0 || !LOCAL.test(local) || /["(),:;<>[\\\]]/.test(local)) return undefined
  const name = lowerAscii(domain)
  return isDomain(name) ? { local: lowerAscii(local), domain: name } : undefined
}

/** Whether a text is a domain as they are compared: in lower case, with at least two labels, without a dot at the end. */
export function isDomain(text: string): boolean {
  const labels = text.split('.')
  return text.length <= 253 && labels.length > 1 && labels.every(label => LABEL.test(label))
}

/** Whether a text is a DNS name in lower case: of one label too, and without a wildcard. */
export function isDnsName(text: string): boolean {
  return text.length <= 253 && text.split('.').every(label => LABEL.test(label))
}

/** Not `toLowerCase` of everything: that makes a `k` of the Kelvin sign. */
export function lowerAscii(text: string): string {
  return text.replace(/[A-Z]+/g, letters => letters.toLowerCase())
}
