const MOST_SEGMENTS = 32
/** Of a path that is asked for. */
const LONGEST = 8192

/**
 * The segments of a pattern such as `/api/*`, in the words of an ingress rule: a prefix of whole segments, `/api` being `/api` and
 * everything below it, never `/apis`; `*` is one whole segment, and may be left out at the end. There is nothing else.
 *
 * @returns what is wrong with it, as the end of a sentence
 */
export function readPattern(text: string): readonly string[] | string {
  if (!text.startsWith('/')) return 'does not begin with /'
  if (/[?#\\%;\u0000-\u0020\u007f]/.test(text))
    return 'has a character that no path pattern has: write it as it reads, without ? # \\ % ; or spaces'
  if (text !== text.normalize('NFKC')) return 'has characters that can be written in another way'
  const segments = text.replace(/\/$/, '').split('/').slice(1)
  if (segments.length > MOST_SEGMENTS) return `has more than ${MOST_SEGMENTS} segments`
  if (segments.includes('')) return 'has an empty segment'
  if (segments.some(isDots)) return 'has the segment . or ..'
  if (segments.some(segment => segment.includes('*') && segment !== '*'))
    return 'has a * that is not a whole segment; it is no wildcard for parts'
  return segments.at(-1) === '*' ? segments.slice(0, -1) : segments
}

/**
 * What a request's path is compared by: its segments, decoded once.
 *
 * @param path without the query
 * @returns undefined for a path that servers read in more ways than one: `..`, `//`, `;`, `%2F`, `%5C`, what is encoded twice,
 *   letters that normalisation turns into others. No rule knows what is meant by it.
 */
export function segmentsOf(path: string): readonly string[] | undefined {
  if (!path.startsWith('/') || path.length > LONGEST || /[?#\\\u0000-\u0020\u007f]/.test(path)) return undefined
  let decoded: string[]
  try {
    decoded = path.replace(/\/$/, '').split('/').slice(1).map(decodeURIComponent)
  } catch {
    return undefined
  }
  return decoded.every(isPlain) ? decoded : undefined
}

/** Whether the pattern's segments are the first of these. */
export function isBelow(pattern: readonly string[], segments: readonly string[]): boolean {
  return pattern.length <= segments.length && pattern.every((wanted, at) => wanted === '*' || wanted === segments[at])
}

function isPlain(segment: string): boolean {
  if (segment === '' || isDots(segment) || /[/\\%;\u0000-\u001f\u007f]/.test(segment)) return false
  return isAscii(segment) || segment === segment.normalize('NFKC')
}

function isAscii(text: string): boolean {
  return /^[ -~]*$/.test(text)
}

function isDots(segment: string): boolean {
  return segment === '.' || segment === '..'
}
