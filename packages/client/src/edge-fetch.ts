import { request as httpRequest, type IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import { getCACertificates } from 'node:tls'
import { type ClientHost, PosternError } from '@postern/interface'
import { connectEdge, type EdgeAddress, type Trust } from './connect.ts'

/** Bytes. What plugins fetch are documents and tokens. */
const LARGEST = 1024 * 1024

/** The edge that a program's plugins are about. */
export interface EdgeAt {
  /** The application's. */
  readonly hostname: string
  /** Where the edge listens, when not at the hostname itself. */
  readonly edge?: URL | undefined
  readonly trust: Trust
}

type Fetch = ClientHost['fetch']

/**
 * `fetch` for the plugins of one application. Its hostname, and the authorization servers that it names (RFC 9728), are asked
 * where the edge listens, as whom the URL says, and are trusted by the edge's CA. Any other place is asked at its own address;
 * the edge's CA is trusted there besides the system's, since a team domain may be known from an earlier time.
 */
export function edgeFetch({ hostname, edge, trust }: EdgeAt): Fetch {
  const servers = new Set<string>()
  return async (url, init) => {
    if (url.protocol !== 'https:')
      throw new PosternError('EDGE_PROTOCOL', `${url.origin} is not asked: a credential travels by https: only`)
    const isApplication = url.hostname === hostname
    const isEdge = isApplication || servers.has(url.host)
    const at = isEdge && edge ? edge : url
    const to: EdgeAddress = { host: bare(at.hostname), port: portOf(at), serverName: bare(url.hostname) }
    const answer = await exchange(url, init, to, isEdge ? trust : withSystem(trust))
    if (isApplication && url.pathname === '/.well-known/oauth-protected-resource')
      for (const server of serversIn(answer.body)) servers.add(server)
    return answer.response
  }
}

function withSystem({ ca }: Trust): Trust {
  return { ca: ca.length === 0 ? ca : [...getCACertificates('default'), ...ca] }
}

async function exchange(
  url: URL,
  { method = 'GET', headers: given, body, signal }: Parameters<Fetch>[1],
  to: EdgeAddress,
  trust: Trust,
): Promise<{ readonly response: Response; readonly body: string }> {
  const call = { signal, log: SILENT }
  const socket = await connectEdge(to, { alpn: ['http/1.1'] }, trust, {}, call)
  try {
    const text = body === undefined || body === null ? '' : textOf(body)
    const headers = new Headers(given)
    if (body instanceof URLSearchParams && !headers.has('content-type'))
      headers.set('content-type', 'application/x-www-form-urlencoded')
    headers.set('host', url.host)
    headers.set('connection', 'close')
    if (text !== '' || method !== 'GET') headers.set('content-length', String(Buffer.byteLength(text)))
    const answer = await answerTo({ socket, method, path: url.pathname + url.search, headers, text }, url, signal)
    const bytes = await read(answer, url)
    const status = answer.statusCode ?? 0
    const hasNone = [204, 205, 304].includes(status)
    const response = new Response(hasNone ? null : new Uint8Array(bytes), { status, headers: headersOf(answer) })
    return { response, body: bytes.toString() }
  } finally {
    socket.destroy()
  }
}

interface Asked {
  readonly socket: Duplex
  readonly method: string
  readonly path: string
  readonly headers: Headers
  readonly text: string
}

function answerTo(asked: Asked, url: URL, signal: AbortSignal): Promise<IncomingMessage> {
  const { socket, method, path, headers, text } = asked
  return new Promise((resolve, reject) => {
    const failed = (cause: Error) =>
      reject(
        signal.aborted
          ? signal.reason
          : new PosternError('EDGE_UNREACHABLE', `${url.host} did not answer: ${cause.message}`, {
              cause,
              speaker: 'client',
            }),
      )
    httpRequest({ createConnection: () => socket, method, path, headers: Object.fromEntries(headers), signal })
      .on('response', resolve)
      .on('error', failed)
      .end(text)
  })
}

async function read(answer: IncomingMessage, url: URL): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of answer) {
    size += chunk.length
    if (size > LARGEST) throw new PosternError('EDGE_PROTOCOL', `${url.host} answered with more than 1 MiB`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function headersOf({ rawHeaders }: IncomingMessage): Headers {
  const headers = new Headers()
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) headers.append(rawHeaders[at] ?? '', rawHeaders[at + 1] ?? '')
  return headers
}

function textOf(body: NonNullable<RequestInit['body']>): string {
  if (typeof body === 'string' || body instanceof URLSearchParams) return String(body)
  throw new PosternError('INTERNAL', 'the body of a request of a plugin is text or URLSearchParams')
}

/** Hosts, with their ports, of the authorization servers that a protected resource's document names. */
function serversIn(text: string): string[] {
  try {
    const { authorization_servers: servers } = JSON.parse(text) as { authorization_servers?: unknown }
    return Array.isArray(servers) ? servers.flatMap(one => URL.parse(String(one))?.host ?? []) : []
  } catch {
    return []
  }
}

/** Without the brackets that a URL has around an IPv6 address. */
function bare(hostname: string): string {
  const inner = hostname.replace(/^\[|\]$/g, '')
  return isIP(inner) === 6 ? inner : hostname
}

function portOf({ port }: URL): number {
  return port === '' ? 443 : Number(port)
}

const SILENT = { debug() {}, info() {}, warn() {}, error() {} }
