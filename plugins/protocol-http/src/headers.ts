import { PosternError } from '@postern/interface'
import { IDENTITY_HEADER } from '@postern/verify'

/** Names and values in turn, as they came: `IncomingMessage.rawHeaders`. */
export type RawHeaders = readonly string[]

/** RFC 9110 §7.6.1 and what is about one connection besides: never passed on. */
const HOP_BY_HOP = new Set([
  'connection',
  'http2-settings',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
])
/** RFC 9110 §6.5.1: what frames, routes or authorizes a message decides before its end, or not at all. */
const NOT_IN_TRAILERS = new Set([
  ...HOP_BY_HOP,
  'authorization',
  'cache-control',
  'content-encoding',
  'content-length',
  'content-range',
  'content-type',
  'cookie',
  'expect',
  'host',
  'max-forwards',
  'range',
  'set-cookie',
  'trailer',
])
/** The visitor's certificate, as the edge says it. */
const CERTIFICATE_HEADER = 'client-cert'
/** Of the edge’s own headers, what services are meant to see. */
const FOR_SERVICES = new Set([IDENTITY_HEADER, 'postern-request-id'])

export interface RequestHead {
  /** To send to the service: everything about the message, nothing about the connection it came by. */
  readonly headers: string[]
  /** A body may follow: a length that is not 0, or chunks. */
  readonly hasBody: boolean
  readonly isChunked: boolean
  /** The visitor reads trailers (`TE: trailers`). */
  readonly wantsTrailers: boolean
  readonly requestId: string
  readonly identity: string | undefined
}

/**
 * Takes apart what the edge sent. The edge has done all of this for what a visitor sent; it is done again here, so that a mistake
 * there is no way past a service’s trust in `postern-identity`.
 *
 * @throws PosternError PROTOCOL_VIOLATION: the identity more than once, or a name that some services read as one of ours
 */
export function readRequestHead(raw: RawHeaders, hostHeader: string | undefined): RequestHead {
  const named = namedByConnection(raw)
  const headers: string[] = []
  let identity: string | undefined
  let requestId = ''
  let length = 0
  let isChunked = false
  let wantsTrailers = false
  let certificates = 0
  for (const [spelt, value] of pairs(raw)) {
    const name = spelt.toLowerCase()
    if (name === 'content-length') length = Number(value)
    else if (name === 'transfer-encoding') {
      if (!/^chunked$/i.test(value)) throw violation('a request’s body is coded otherwise than in chunks')
      isChunked = true
    } else if (name === 'te') wantsTrailers ||= /(^|,)\s*trailers\s*(;|,|$)/i.test(value)
    if (isLikeCertificate(name) || (name === CERTIFICATE_HEADER && ++certificates > 1))
      throw violation(`a request has ${CERTIFICATE_HEADER} more than once, or what services may take for it`)
    if (isReserved(name)) {
      if (!name.startsWith('postern-'))
        throw violation('a request has a header that services may take for one of the edge’s')
      if (!FOR_SERVICES.has(name)) continue
      if (name === IDENTITY_HEADER) {
        if (identity !== undefined) throw violation(`a request has ${IDENTITY_HEADER} more than once`)
        identity = value
      } else requestId = value
    } else if (HOP_BY_HOP.has(name) || (named.has(name) && !isFraming(name))) continue
    headers.push(spelt, name === 'host' && hostHeader !== undefined ? hostHeader : value)
  }
  return { headers, hasBody: isChunked || length > 0, isChunked, wantsTrailers, requestId, identity }
}

/** What of a service’s answer goes on. Its own word for what only this daemon says (`postern-problem`) does not. */
export function readAnswerHead(raw: RawHeaders): string[] {
  const named = namedByConnection(raw)
  const list = pairs(raw)
  const isChunked = list.some(([name]) => name.toLowerCase() === 'transfer-encoding')
  const headers: string[] = []
  for (const [spelt, value] of list) {
    const name = spelt.toLowerCase()
    const stays = !HOP_BY_HOP.has(name) && !isReserved(name) && (!named.has(name) || isFraming(name))
    if (stays && (name !== 'trailer' || isChunked)) headers.push(spelt, value)
  }
  return headers
}

/** Trailers that may be one, as pairs. */
export function readTrailers(raw: RawHeaders): [string, string][] {
  return pairs(raw).filter(([spelt]) => {
    const name = spelt.toLowerCase()
    return !NOT_IN_TRAILERS.has(name) && !isReserved(name) && !/^client[-_.]cert/.test(name)
  })
}

/** In lower case, with the values of a name together: as HTTP/2 has them. */
export function asFields(list: readonly (readonly [string, string])[]): Record<string, string | string[]> {
  const fields: Record<string, string | string[]> = Object.create(null)
  for (const [spelt, value] of list) {
    const name = spelt.toLowerCase()
    const before = fields[name]
    fields[name] = before === undefined ? value : [before, value].flat()
  }
  return fields
}

/** What HTTP/2 brought, as HTTP/1.1 writes it. Names of its own (`:status`) are left out. */
export function fromFields(
  fields: Readonly<Record<string, string | readonly string[] | number | undefined>>,
): string[] {
  return Object.entries(fields).flatMap(([name, value]) =>
    name.startsWith(':') || value === undefined ? [] : [value].flat().flatMap(one => [name, String(one)]),
  )
}

export function pairs(raw: RawHeaders): [string, string][] {
  const list: [string, string][] = []
  for (let at = 0; at + 1 < raw.length; at += 2) list.push([raw[at] ?? '', raw[at + 1] ?? ''])
  return list
}

/** `postern-…`, also with the `_` and `.` that CGI and friends read as a hyphen. */
function isReserved(name: string): boolean {
  return /^postern[-_.]/.test(name)
}

/** What services may read as `client-cert` (RFC 9440), and is not. */
function isLikeCertificate(name: string): boolean {
  return /^client[-_.]cert$/.test(name) && name !== CERTIFICATE_HEADER
}

function isFraming(name: string): boolean {
  return name === 'host' || name === 'content-length' || name === 'expect'
}

function namedByConnection(raw: RawHeaders): ReadonlySet<string> {
  const named = new Set<string>()
  for (const [name, value] of pairs(raw))
    if (name.toLowerCase() === 'connection') for (const one of value.split(',')) named.add(one.trim().toLowerCase())
  return named
}

function violation(message: string): PosternError {
  return new PosternError('PROTOCOL_VIOLATION', message, { speaker: 'daemon' })
}
