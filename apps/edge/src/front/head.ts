import { type Code, PosternError, type Presented, type ReceivedHeaders } from '@postern/interface'
import { tellsOfCertificate } from './certificate-headers.ts'
import type { PeerCertificate } from './handshake.ts'
import { requestedHostname } from './hostname.ts'
import type { FrontLimits } from './limits.ts'
import { canonicalTarget } from './target.ts'

/** A request's head after the front's checks: there is one way to read it. */
export interface Head {
  readonly method: string
  readonly hostname: string
  readonly target: string
  readonly presented: Presented
}

/** What came, over either version of HTTP. */
export interface SentHead {
  readonly method: string
  readonly url: string
  /** Names and values in turn, in order. Over HTTP/2 with the pseudo-headers. */
  readonly raw: readonly string[]
  readonly remoteAddress: string
  /** For example `1.1`. */
  readonly version: string
  /** Of the connection. */
  readonly certificate: PeerCertificate | undefined
}

/** What a head is refused with: an error, and its status where that is not the code's own. */
export class HeadRefused extends PosternError {
  readonly status: number | undefined

  constructor(code: Code, message: string, status?: number) {
    super(code, message, { speaker: 'edge' })
    this.status = status
  }
}

/**
 * Reads a head, strictly: two readers of a sloppy one could read it in two ways.
 *
 * @throws PosternError REQUEST_TOO_LARGE, HOSTNAME_INVALID, BAD_USAGE
 */
export function readHead(sent: SentHead, limits: FrontLimits): Head {
  const { method, url, raw, remoteAddress, version, certificate } = sent
  if (url.length > limits.target) throw new HeadRefused('REQUEST_TOO_LARGE', 'the request’s target is too long', 414)
  if (raw.length / 2 > limits.headers) throw new HeadRefused('REQUEST_TOO_LARGE', 'the request has too many headers')
  if (method === 'CONNECT' || method === 'TRACE')
    throw new HeadRefused('BAD_USAGE', `${method} is not answered here`, 405)
  const received = receivedHeaders(raw)
  const authority = received.get(':authority')
  if (authority !== undefined) hostOfAuthority(received, authority)
  const headers = Object.fromEntries([...received].filter(([name]) => !name.startsWith(':')))
  checkHeaders(headers)
  if (version === '1.0' && headers['transfer-encoding'] !== undefined)
    throw new HeadRefused('BAD_USAGE', 'HTTP/1.0 has no transfer codings')
  const hostname = requestedHostname(headers.host, url)
  const target = canonicalTarget(url)
  const presented = { method, url: target, headers, remoteAddress }
  return { method, hostname, target, presented: certificate ? { ...presented, ...certificate } : presented }
}

/** Over HTTP/2 a Host is not needed, and where it is sent it says the same (RFC 9113 §8.3.1). */
function hostOfAuthority(headers: Map<string, string[]>, [authority = '']: string[]): void {
  const hosts = headers.get('host') ?? [authority]
  if (hosts.some(host => host.toLowerCase() !== authority.toLowerCase()))
    throw new HeadRefused('HOSTNAME_INVALID', 'the request’s :authority and its Host header differ')
  if (!headers.has('host')) headers.set('host', hosts)
}

/** Header names of the edge’s own, and of a message’s framing. */
const GUARDED = /^(?:postern-|x-forwarded-|(?:content-length|transfer-encoding|forwarded)$)/

function checkHeaders(headers: ReceivedHeaders): void {
  for (const name of Object.keys(headers)) {
    const isPlain = /^[a-z0-9-]*$/.test(name)
    // CGI and its heirs make one name of all of these: what looks harmless here would be the edge’s own word there.
    const folded = isPlain ? name : name.replace(/[^a-z0-9]/g, '-')
    if (!isPlain && GUARDED.test(folded))
      throw new HeadRefused('BAD_USAGE', 'the request has a header that only looks like a reserved one')
    if (tellsOfCertificate(folded))
      throw new HeadRefused(
        'BAD_USAGE',
        'the request has a header that tells of a client certificate, which only the edge does',
      )
  }
  const { 'content-length': lengths, 'transfer-encoding': codings, host } = headers
  if (lengths !== undefined && codings !== undefined)
    throw new HeadRefused('BAD_USAGE', 'the request has a length and a transfer coding')
  if (lengths !== undefined && (lengths.length > 1 || !/^\d{1,15}$/.test(lengths[0] ?? '')))
    throw new HeadRefused('BAD_USAGE', 'the request’s Content-Length is not one number')
  if (codings !== undefined && (codings.length > 1 || codings[0]?.toLowerCase() !== 'chunked'))
    throw new HeadRefused('BAD_USAGE', 'no transfer coding but chunked is taken')
  if (host !== undefined && host.length > 1)
    throw new HeadRefused('HOSTNAME_INVALID', 'exactly one Host header is wanted')
}

/** Every header with every value, as it came: Node's own views join or drop what came twice. */
export function receivedHeaders(raw: readonly string[]): Map<string, string[]> {
  const headers = new Map<string, string[]>()
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = (raw[at] ?? '').toLowerCase()
    const values = headers.get(name)
    if (values === undefined) headers.set(name, [raw[at + 1] ?? ''])
    else values.push(raw[at + 1] ?? '')
  }
  return headers
}

/**
 * Whether a browser asks for a page, of all that might want an answer to read: then it is sent to sign in, and told in HTML.
 */
export function isNavigation({ method, headers }: Presented): boolean {
  if (method !== 'GET' && method !== 'HEAD') return false
  const mode = headers['sec-fetch-mode']?.join(',')
  if (mode !== undefined && mode.toLowerCase() !== 'navigate') return false
  return (headers.accept ?? []).join(',').toLowerCase().includes('text/html')
}

/** The sub-protocols an upgrade names, in order. */
export function subprotocolsOf({ headers }: Presented): readonly string[] {
  const names = (headers['sec-websocket-protocol'] ?? []).join(',').split(',')
  return names.map(name => name.trim()).filter(name => name !== '')
}

/** Whether an upgrade is to a WebSocket and to nothing else. */
export function isWebSocket({ headers }: Presented): boolean {
  return headers.upgrade?.length === 1 && headers.upgrade[0]?.trim().toLowerCase() === 'websocket'
}
