// Strangers and people at the public port, by hand: bytes over TLS, frames of node:http2, and a jar of cookies.
import { readFileSync } from 'node:fs'
import { type ClientHttp2Session, connect as connectHttp2, type OutgoingHttpHeaders } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import { dialTls } from './attacker.ts'
import { fetchTrusting, type Site } from './site.ts'

type At = Pick<Site, 'edge' | 'caFile'>

/** Bytes to a hostname, and everything that came back before the other end closed or `enough` of it had come. */
export async function say(site: At, hostname: string, bytes: string | Buffer, enough?: RegExp): Promise<string> {
  const line = await dialLine(site, hostname)
  line.write(bytes)
  const text = await line.read(enough)
  line.socket.destroy()
  return text
}

/** One connection over HTTP/1.1. */
export interface Line {
  readonly socket: TLSSocket
  readonly closed: boolean
  /** Everything so far. */
  text(): string
  write(bytes: string | Buffer): void
  /** What came since the last read, once it is enough or the other end is done. */
  read(enough?: RegExp): Promise<string>
}

export async function dialLine({ edge, caFile }: At, hostname: string): Promise<Line> {
  const socket = await dialTls({ port: edge.port, caFile }, hostname)
  let text = ''
  let at = 0
  let closed = false
  let heard = Promise.withResolvers<void>()
  const tell = () => {
    heard.resolve()
    heard = Promise.withResolvers()
  }
  socket.on('data', chunk => {
    text += chunk.toString('latin1')
    tell()
  })
  for (const over of ['end', 'close']) {
    socket.on(over, () => {
      closed = true
      tell()
    })
  }
  return {
    socket,
    get closed() {
      return closed
    },
    text: () => text,
    write: bytes =>
      void (socket.writable && socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)),
    async read(enough) {
      const late = AbortSignal.timeout(15_000)
      const tooLate = new Promise<void>(resolve => late.addEventListener('abort', () => resolve()))
      while (!closed && !enough?.test(text.slice(at)) && !late.aborted) await Promise.race([heard.promise, tooLate])
      const read = text.slice(at)
      at = text.length
      if (late.aborted) throw new Error(`it never came to ${enough ?? 'an end'}: ${read.slice(-500)}`)
      return read
    },
  }
}

/** A request of HTTP/1.1 as it is written. */
export function plain(line: string, host: string, headers = '', body = ''): string {
  return `${line} HTTP/1.1\r\nHost: ${host}\r\n${headers}\r\n${body}`
}

export function statusOf(answer: string): number {
  return Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1] ?? 0)
}

export interface Heard {
  readonly status: number
  readonly body: string
  readonly headers: Record<string, unknown>
  readonly reset: number
}

/** HTTP/2 to a hostname. */
export function http2(site: At, hostname: string): ClientHttp2Session {
  const session = connectHttp2(`https://${hostname}:${site.edge.port}`, {
    ca: readFileSync(site.caFile),
    servername: hostname,
    lookup: (
      _host: string,
      _options: unknown,
      done: (error: null, found: { address: string; family: number }[]) => void,
    ) => done(null, [{ address: '127.0.0.1', family: 4 }]),
  } as never)
  return session.on('error', () => {})
}

/** One request over HTTP/2, to its end, however it ends. */
export function ask2(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
  body?: string | Buffer,
): Promise<Heard> {
  return new Promise(resolve => {
    const stream = session.request(headers, { endStream: body === undefined })
    let text = ''
    let got: Record<string, unknown> = {}
    stream.on('response', fields => (got = { ...fields }))
    stream.setEncoding('utf8').on('data', chunk => (text += chunk))
    stream.on('error', () => {})
    stream.once('close', () =>
      resolve({ status: Number(got[':status'] ?? 0), body: text, headers: got, reset: stream.rstCode ?? 0 }),
    )
    if (body !== undefined) stream.end(body)
  })
}

/** A person who signs in with their password, as a browser does. @returns the application's session cookie, `name=value` */
export async function signedIn(site: Site, hostname: string, email: string, password: string): Promise<string> {
  const jar = new Map<string, string>()
  let url = site.at(hostname)
  let asked: Parameters<typeof fetchTrusting>[1] = {}
  for (let hop = 0; hop < 12; hop += 1) {
    const { host, origin } = new URL(url)
    const cookie = [...jar]
      .filter(([key]) => key.startsWith(host))
      .map(([key, value]) => `${key.slice(host.length + 1)}=${value}`)
    const headers = { ...asked.headers, ...(cookie.length > 0 && { cookie: cookie.join('; ') }) }
    const got = await fetchTrusting(url, { ...asked, headers })
    for (const one of got.cookies) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(one) ?? []
      if (value !== '') jar.set(`${host} ${name}`, value)
    }
    const session = jar.get(`${new URL(site.at(hostname)).host} __Host-postern-session`)
    if (session !== undefined) return `__Host-postern-session=${session}`
    const to = got.headers.location ?? /http-equiv="refresh" content="0; ?url=([^"]+)"/i.exec(got.body)?.[1]
    if (to !== undefined) {
      url = new URL(to.replaceAll('&amp;', '&'), url).href
      asked = {}
      continue
    }
    const fields = new URLSearchParams({ email, password })
    for (const [, name = '', value = ''] of got.body.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)">/g))
      fields.set(name, value.replaceAll('&amp;', '&'))
    const action = /<form[^>]* action="([^"]*)"/.exec(got.body)?.[1] ?? ''
    url = new URL(action.replaceAll('&amp;', '&'), url).href
    asked = {
      method: 'POST',
      headers: { origin, 'content-type': 'application/x-www-form-urlencoded' },
      body: fields.toString(),
    }
  }
  throw new Error(`nobody was signed in; last: ${url}`)
}
