import { PosternError } from '@postern/interface'

const UNRESERVED = /[A-Za-z0-9._~-]/
/** What servers decode to a separator, an end of text, or a line of a head. */
const REFUSED_ESCAPE = /%(?:2F|5C|7F|[01][0-9A-F])/
/** An escape that becomes another one when somebody decodes twice. */
const ENCODED_TWICE = /%25[0-9A-Fa-f]{2}/

/**
 * The one spelling of a request's path and query: what is judged, and byte for byte what is forwarded.
 *
 * Escapes of unreserved characters are decoded and the others written in upper case, which changes nothing for anybody
 * (RFC 3986 §6.2.2). Whatever servers read in more ways than one is refused instead of repaired: `..` and `//` in a path, `%2F`,
 * `%5C`, `%00` and other controls, backslashes, escapes of escapes, what is no UTF-8, a fragment. A query is never judged: it
 * stays as it came.
 *
 * @param sent a path, or a URL in absolute form, whose authority is not looked at here
 * @throws PosternError BAD_USAGE
 */
export function canonicalTarget(sent: string): string {
  const target = originForm(sent)
  if (!/^[!-~]*$/.test(target)) throw refused('has characters that must be percent-encoded')
  if (target.includes('#')) throw refused('has a fragment')
  const at = target.indexOf('?')
  const path = at < 0 ? target : target.slice(0, at)
  return canonicalPath(path) + (at < 0 ? '' : target.slice(at))
}

function originForm(sent: string): string {
  if (sent.startsWith('/')) return sent
  const [, rest] = /^https?:\/\/[^/?#\\]*(.*)$/is.exec(sent) ?? []
  if (rest === undefined) throw refused('is neither a path nor a URL')
  return rest.startsWith('/') ? rest : `/${rest}`
}

/** Nothing of it can be read in another way: segments of unreserved characters that do not begin with a dot. */
const PLAIN = /^(?:\/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*\/?$/

function canonicalPath(sent: string): string {
  if (PLAIN.test(sent)) return sent
  if (/%(?![0-9A-Fa-f]{2})/.test(sent)) throw refused('has a % that begins no escape')
  if (sent.includes('\\')) throw refused('has a backslash')
  const path = sent.replace(/%[0-9A-Fa-f]{2}/g, escaped => {
    const character = String.fromCharCode(Number.parseInt(escaped.slice(1), 16))
    return UNRESERVED.test(character) ? character : escaped.toUpperCase()
  })
  if (ENCODED_TWICE.test(path)) throw refused('is encoded twice')
  if (REFUSED_ESCAPE.test(path)) throw refused('has an encoded separator or control character')
  if (path.includes('//')) throw refused('has an empty segment')
  for (const segment of path.split('/')) checkSegment(segment)
  return path
}

function checkSegment(segment: string): void {
  let decoded = segment
  try {
    if (segment.includes('%')) decoded = decodeURIComponent(segment)
  } catch {
    throw refused('is not percent-encoded UTF-8')
  }
  // Full-width slashes and dots, and what else a normalising server makes separators of.
  const folded = decoded.normalize('NFKC')
  // Some servers cut parameters off before they look for dots.
  const [name = ''] = folded.split(';', 1)
  if (isDots(name)) throw refused('has the segment . or ..')
  if (separators(folded) !== separators(decoded)) throw refused('has characters that others read as separators')
}

function isDots(segment: string): boolean {
  return segment === '.' || segment === '..'
}

function separators(text: string): number {
  return text.match(/[/\\%?#;]/g)?.length ?? 0
}

function refused(why: string): PosternError {
  return new PosternError('BAD_USAGE', `the request’s target ${why}`, {
    speaker: 'edge',
    next: 'Ask for the plain path, percent-encoded once.',
  })
}
