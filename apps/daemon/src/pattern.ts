import { readHostname } from '@postern/client'
import { PosternError } from '@postern/interface'

/**
 * What an ingress rule of a config file is for.
 *
 * A hostname is one, or has `*` as its first label, which stands for exactly one label (as in a certificate, RFC 9525 section
 * 6.3). A path is a prefix of whole segments: `/api` is `/api` and everything below it, never `/apis`. `*` stands for one
 * whole segment; at the end it may be written or left out, so `/api/*` is the same as `/api`. There is nothing else: no regular
 * expression to get wrong, and one comparison for each segment.
 */
export interface Pattern {
  /** Absent: every hostname. */
  readonly hostname?: string
  /** Empty: every path. */
  readonly segments: readonly string[]
}

const MOST_SEGMENTS = 32

/** `db.example.com` or `*.example.com`. @throws PosternError HOSTNAME_INVALID */
export function readHostnamePattern(text: string): string {
  const bad = (why: string) => new PosternError('HOSTNAME_INVALID', `${JSON.stringify(text.slice(0, 100))} ${why}`)
  if (text.includes(':')) throw bad('has a port; an ingress rule is for a hostname')
  const isWildcard = text.startsWith('*.')
  const name = isWildcard ? text.slice(2) : text
  if (name.includes('*')) throw bad('has a * where none can be: it is the whole first label, as in *.example.com')
  const { hostname } = readHostname(name)
  if (isWildcard && !hostname.includes('.') && hostname !== 'localhost')
    throw bad('is a whole top-level domain; write *.example.com')
  return isWildcard ? `*.${hostname}` : hostname
}

/** The segments of `/api/*`; none for `/`. @throws PosternError OPTION_INVALID */
export function readPath(text: string): readonly string[] {
  const bad = (why: string) =>
    new PosternError('OPTION_INVALID', `the path ${JSON.stringify(text.slice(0, 100))} ${why}`)
  if (!text.startsWith('/')) throw bad('does not begin with /')
  if (/[?#\\%\u0000-\u0020\u007f]/.test(text))
    throw bad('has a character that no path pattern has: write it as it reads, without ? # \\ % or spaces')
  const segments = text.replace(/\/$/, '').split('/').slice(1)
  if (segments.length > MOST_SEGMENTS) throw bad(`has more than ${MOST_SEGMENTS} segments`)
  for (const segment of segments) {
    if (segment === '') throw bad('has an empty segment')
    if (segment === '.' || segment === '..') throw bad(`has the segment ${segment}`)
    if (segment.includes('*') && segment !== '*')
      throw bad('has a * that is not a whole segment; it is no wildcard for parts')
  }
  return segments.at(-1) === '*' ? segments.slice(0, -1) : segments
}

/**
 * What a URL's path is compared by: its segments, decoded, without empty ones.
 *
 * @param path as it was sent; a `URL` has already decided how to read it
 * @returns undefined for a path that servers read in more ways than one (`%2F`, `\`, dot-dot): no rule answers it
 */
export function segmentsOf(path: string): readonly string[] | undefined {
  const segments: string[] = []
  for (const part of path.split('/')) {
    let segment: string
    try {
      segment = decodeURIComponent(part)
    } catch {
      return undefined
    }
    if (/[/\\\u0000]/.test(segment) || segment === '.' || segment === '..') return undefined
    if (segment !== '') segments.push(segment)
  }
  return segments
}

/** @param hostname in lower case */
export function matches(pattern: Pattern, hostname: string, segments: readonly string[]): boolean {
  return coversHostname(pattern.hostname, hostname) && coversPath(pattern.segments, segments)
}

/** Whether everything that `other` is for, `pattern` is for as well. */
export function covers(pattern: Pattern, other: Pattern): boolean {
  return coversHostname(pattern.hostname, other.hostname) && coversPath(pattern.segments, other.segments)
}

/** Whether there is a hostname that both are for. */
export function shareHostnames(one: Pattern, other: Pattern): boolean {
  return coversHostname(one.hostname, other.hostname) || coversHostname(other.hostname, one.hostname)
}

function coversHostname(pattern: string | undefined, hostname: string | undefined): boolean {
  if (pattern === undefined || pattern === hostname) return true
  return hostname !== undefined && pattern.startsWith('*.') && /^[^.]+(\..*)$/.exec(hostname)?.[1] === pattern.slice(1)
}

function coversPath(pattern: readonly string[], segments: readonly string[]): boolean {
  return pattern.length <= segments.length && pattern.every((wanted, at) => wanted === segments[at] || wanted === '*')
}

/** As a person writes it: `app.example.com/api/*`. */
export function showPattern({ hostname = '*', segments }: Pattern): string {
  return segments.length > 0 ? `${hostname}/${segments.join('/')}/*` : hostname
}
