import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { type ClientHttp2Session, connect as connectHttp2, type IncomingHttpHeaders } from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { problem } from '@postern/interface'
import { type Certificates, certificatesOfDevCa } from '../src/front/certificates.ts'
import { openDevCa } from '../src/front/devca.ts'
import { type Exchange, sendHead, type UpgradeExchange } from '../src/front/exchange.ts'
import { Front } from '../src/front/front.ts'
import type { CertificateRule } from '../src/front/handshake.ts'
import { FRONT_LIMITS, type FrontLimits } from '../src/front/limits.ts'
import { dial, endOfAnswer } from './visitor.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }

/** A front with nothing behind it but what the test says. */
export interface FrontWorld extends AsyncDisposable {
  readonly front: Front
  readonly port: number
  readonly caFile: string
  readonly seen: Exchange[]
  readonly upgrades: UpgradeExchange[]
  dial(): Promise<TLSSocket>
  http2(): ClientHttp2Session
}

export interface Serving {
  /** What is asked for; nothing without it. The hostnames are ours, and have certificates of the dev CA. */
  readonly rules?: Map<string, CertificateRule>
  readonly certificates?: Certificates
  readonly limits?: Partial<FrontLimits>
  readonly exchange?: (exchange: Exchange) => void
  readonly upgrade?: (upgrade: UpgradeExchange) => void
}

export async function startFront(serving: Serving = {}): Promise<FrontWorld> {
  const folder = await mkdtemp(join(tmpdir(), 'postern-front-'))
  const ca = await openDevCa(join(folder, 'ca'))
  const seen: Exchange[] = []
  const upgrades: UpgradeExchange[] = []
  const isOurs = (name: string) => name === 'db.localhost' || serving.rules?.has(name) === true
  const front = new Front({
    certificates: serving.certificates ?? (await certificatesOfDevCa(ca, 'edge.localhost', isOurs)),
    limits: { ...FRONT_LIMITS, ...serving.limits },
    log,
    exchange: exchange => {
      seen.push(exchange)
      ;(serving.exchange ?? tell)(exchange)
    },
    upgrade: upgrade => {
      upgrades.push(upgrade)
      serving.upgrade?.(upgrade)
    },
    teamDomain: 'edge.localhost',
    certificateRule: hostname => serving.rules?.get(hostname),
    isTransports: (_, subprotocols) => subprotocols.some(name => name.startsWith('postern-')),
  })
  const { port } = await front.listen('127.0.0.1', 0, { signal: AbortSignal.timeout(10_000), log })
  const sessions: ClientHttp2Session[] = []
  return {
    front,
    port,
    caFile: ca.file,
    seen,
    upgrades,
    dial: () => dial(port, ca.file, 'db.localhost'),
    http2: () => {
      const session = connectHttp2(`https://db.localhost:${port}`, {
        ca: readFileSync(ca.file),
        lookup: (_host, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]),
      })
      session.on('error', () => {})
      sessions.push(session)
      return session
    },
    async [Symbol.asyncDispose]() {
      for (const session of sessions) session.destroy()
      await front.close()
      await rm(folder, { recursive: true })
    },
  }
}

/** Says what was asked for, without reading a body. */
export function tell({ response, method, hostname, target }: Exchange): void {
  const body = Buffer.from(`${method} ${hostname} ${target}`)
  sendHead(response, 200, { 'content-type': 'text/plain', 'content-length': body.length })
  if (method === 'HEAD') response.end()
  else response.end(body)
}

/** Reads the body, then says it. */
export async function echo({ request, response }: Exchange): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const body = Buffer.concat(chunks)
  sendHead(response, 200, { 'content-length': body.length })
  response.end(body)
}

export const refuse = (exchange: Exchange): void => exchange.refuse(problem('LOGIN_REQUIRED', exchange.requestId))

/** The answers on a connection, one after the other. */
export class Answers {
  #text = ''
  #closed = false
  #wake: (() => void) | undefined

  constructor(socket: Duplex) {
    socket.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString('latin1')
      this.#wake?.()
    })
    socket.once('end', () => socket.end())
    socket.once('close', () => {
      this.#closed = true
      this.#wake?.()
    })
  }

  /** The next answer; empty once the other end closed. */
  async next(): Promise<string> {
    while (true) {
      const end = endOfAnswer(this.#text)
      if (end !== undefined) {
        const answer = this.#text.slice(0, end)
        this.#text = this.#text.slice(end)
        return answer
      }
      if (this.#closed) return this.#text
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
  }
}

export interface Answer2 {
  readonly headers: IncomingHttpHeaders
  readonly body: string
  readonly rstCode: number
}

/** One request over HTTP/2, and its answer. */
export async function ask2(
  session: ClientHttp2Session,
  headers: Record<string, string>,
  body?: string,
): Promise<Answer2> {
  const stream = session.request(headers, { endStream: body === undefined })
  let received: IncomingHttpHeaders = {}
  const chunks: Buffer[] = []
  stream.on('response', answer => {
    received = answer
  })
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  stream.on('error', () => {})
  if (body !== undefined) stream.end(body)
  await new Promise<void>(resolve => stream.once('close', () => resolve()))
  return { headers: received, body: Buffer.concat(chunks).toString(), rstCode: stream.rstCode ?? 0 }
}
