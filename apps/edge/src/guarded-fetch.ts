import { lookup } from 'node:dns/promises'
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { PosternError } from '@postern/interface'

/** Bytes of an answer: a JWK set or a discovery document has a few thousand. */
export const MOST_BYTES = 256 * 1024
/** Milliseconds for everything together, redirects included. */
export const DEADLINE = 5000
const MOST_REDIRECTS = 3
const REDIRECTS: readonly (number | undefined)[] = [301, 302, 303, 307, 308]

export interface GuardedFetchOptions {
  /** Hosts that may be at a private address and speak plain HTTP: `idp.internal`, `10.0.0.5`, `localhost:9000`. */
  readonly allowPrivate?: readonly string[]
  /** PEM, in place of the CAs of Node. */
  readonly ca?: string
}

export type GuardedFetch = (
  input: URL | string,
  init: RequestInit & { signal?: AbortSignal | null },
) => Promise<Response>

interface Address {
  readonly address: string
  readonly family: number
}

/**
 * A fetch for addresses that others name: an identity provider's, a key set's. A name is resolved once, and what was judged is
 * what is connected to. Only `https:` to public addresses, unless the host is allowed; a redirect stays at its origin; 256 KiB
 * and 5 seconds at most.
 *
 * The answer has been read as a whole when it is given.
 *
 * @throws PosternError CONFIG_INVALID: an address that may not be asked; EDGE_UNAVAILABLE: it cannot be reached, or answers too
 *   much; TIMED_OUT; `signal.reason`
 */
export function guardedFetch({ allowPrivate = [], ca }: GuardedFetchOptions = {}): GuardedFetch {
  const allowed = new Set(allowPrivate.map(host => host.toLowerCase()))
  return async (input, init) => {
    const outer = init.signal ?? undefined
    outer?.throwIfAborted()
    const late = AbortSignal.timeout(DEADLINE)
    const signal = outer === undefined ? late : AbortSignal.any([outer, late])
    let url = new URL(input)
    try {
      for (let hop = 0; hop <= MOST_REDIRECTS; hop += 1) {
        const answer = await ask(url, { init, signal, ca, allowed })
        const to = redirectOf(answer, url, init)
        if (to === undefined) return answer
        url = to
      }
      throw unavailable(url, `it redirects more than ${MOST_REDIRECTS} times`)
    } catch (error) {
      outer?.throwIfAborted()
      if (late.aborted) throw new PosternError('TIMED_OUT', `${url.host} did not answer within ${DEADLINE / 1000} s`)
      if (PosternError.is(error)) throw error
      throw unavailable(url, String((error as NodeJS.ErrnoException).code ?? 'the connection failed'), error)
    }
  }
}

interface Asking {
  readonly init: RequestInit
  readonly signal: AbortSignal
  readonly ca: string | undefined
  readonly allowed: ReadonlySet<string>
}

async function ask(url: URL, { init, signal, ca, allowed }: Asking): Promise<Response> {
  const addresses = await judge(url, allowed, signal)
  const { body, headers, method } = new Request(url, { ...init, signal: null, redirect: 'manual' })
  const sent = body === null ? undefined : Buffer.from(await new Response(body).arrayBuffer())
  const found: LookupFunction = (_host, { all }, done) => {
    if (all) done(null, addresses as never)
    else done(null, addresses[0]?.address ?? '', addresses[0]?.family)
  }
  const options = {
    method,
    // Compressed, a small answer may be a large one.
    headers: {
      ...Object.fromEntries(headers),
      'accept-encoding': 'identity',
      connection: 'close',
      ...(sent && { 'content-length': sent.length }),
    },
    lookup: found,
    signal,
    agent: false as const,
  }
  const asked =
    url.protocol === 'https:'
      ? httpsRequest(url, { ...options, ...(ca !== undefined && { ca }) })
      : httpRequest(url, options)
  return answerTo(asked, sent, url)
}

function answerTo(asked: ClientRequest, sent: Buffer | undefined, url: URL): Promise<Response> {
  const { promise, resolve, reject } = Promise.withResolvers<Response>()
  asked.on('error', reject)
  asked.on('response', answer =>
    readAnswer(answer, url)
      .then(resolve, reject)
      .finally(() => asked.destroy()),
  )
  asked.end(sent)
  return promise
}

async function readAnswer(answer: IncomingMessage, url: URL): Promise<Response> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MOST_BYTES) throw unavailable(url, `it answers more than ${MOST_BYTES} bytes`)
    chunks.push(chunk)
  }
  const { statusCode: status = 0, rawHeaders } = answer
  const headers = new Headers()
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) headers.append(rawHeaders[at] ?? '', rawHeaders[at + 1] ?? '')
  if ((headers.get('content-encoding') ?? 'identity') !== 'identity')
    throw unavailable(url, 'it answers compressed, which was not asked for')
  if (status < 200 || status > 599) throw unavailable(url, `it answers with the status ${status}`)
  const isEmpty = [204, 205, 304].includes(status)
  return new Response(isEmpty ? null : Buffer.concat(chunks), { status, headers })
}

/** Where to go on. @throws PosternError EDGE_UNAVAILABLE: to another origin, or nobody asked for redirects */
function redirectOf({ status, headers }: Response, url: URL, { redirect = 'follow', method = 'GET' }: RequestInit) {
  const location = headers.get('location')
  if (location === null || !REDIRECTS.includes(status) || redirect === 'manual') return undefined
  const to = URL.canParse(location, url) ? new URL(location, url) : undefined
  const isRead = ['GET', 'HEAD'].includes(method.toUpperCase())
  if (to?.origin !== url.origin || redirect === 'error' || !isRead)
    throw unavailable(url, 'it redirects to where it may not')
  return to
}

/** The addresses of a host, all of which may be asked. */
async function judge(url: URL, allowed: ReadonlySet<string>, signal: AbortSignal): Promise<readonly Address[]> {
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const isAllowed = allowed.has(host) || allowed.has(url.host)
  if (url.username !== '' || url.password !== '') throw forbidden(url, 'it has a user name in it')
  if (url.protocol !== 'https:' && !(isAllowed && url.protocol === 'http:')) throw forbidden(url, 'it is not https')
  const family = isIP(host)
  const addresses = family === 0 ? await resolve(host, signal) : [{ address: host, family }]
  if (addresses.length === 0) throw unavailable(url, 'it has no address')
  if (!isAllowed && !addresses.every(isPublic)) throw forbidden(url, 'it is at a private address')
  return addresses
}

/** The system's resolver takes no signal, and may not know that names below `.localhost` are this machine (RFC 6761 §6.3). */
async function resolve(host: string, signal: AbortSignal): Promise<readonly Address[]> {
  if (host.endsWith('.localhost')) return [{ address: '127.0.0.1', family: 4 }]
  const { promise, reject } = Promise.withResolvers<never>()
  const abort = () => reject(signal.reason as Error)
  signal.addEventListener('abort', abort, { once: true })
  try {
    return await Promise.race([lookup(host, { all: true }), promise])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

/** Of 2000::/3, the only part that is given out; and of IPv4 (IANA special-purpose address registries). */
const PUBLIC6 = new BlockList()
PUBLIC6.addSubnet('2000::', 3, 'ipv6')
const SPECIAL = new BlockList()
for (const [net, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
] as const)
  SPECIAL.addSubnet(net, bits, 'ipv4')
for (const [net, bits] of [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
] as const)
  SPECIAL.addSubnet(net, bits, 'ipv6')

/** Whether an address is one of the public internet: no loopback, private, link-local (metadata services) or mapped one. */
export function isPublic({ address, family }: Address): boolean {
  if (family === 4) return !SPECIAL.check(address, 'ipv4')
  return family === 6 && PUBLIC6.check(address, 'ipv6') && !SPECIAL.check(address, 'ipv6')
}

function forbidden({ protocol, host }: URL, why: string): PosternError {
  return new PosternError('CONFIG_INVALID', `the edge does not ask ${protocol}//${host}: ${why}`, {
    speaker: 'edge',
    next: 'Correct the address; a host of yours at a private address is allowed with postern-edge run --allow-private.',
  })
}

function unavailable({ host }: URL, why: string, cause?: unknown): PosternError {
  return new PosternError('EDGE_UNAVAILABLE', `${host} cannot be asked: ${why}`, { speaker: 'edge', cause })
}
