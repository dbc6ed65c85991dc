import { readFileSync } from 'node:fs'
import { connect as connectPlain, type Socket } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import type { Json } from '@postern/interface'
import type { RunningEdge } from '../src/index.ts'
import { type Answer, parseAnswer, readAnswer } from './visitor.ts'

/** One request to the API, as it is to be written. */
export interface AdminAsk {
  readonly method?: string
  /** Below the API's base, unless `target` is given. */
  readonly path?: string
  readonly target?: string
  readonly token?: string | undefined
  readonly body?: unknown
  /** Sent as it is, instead of `body`. */
  readonly raw?: string | Buffer
  readonly headers?: readonly string[]
  readonly host?: string
}

export interface AdminAnswer extends Answer {
  /** Parsed, where it is JSON. */
  readonly json: Json | undefined
}

export interface Api {
  socket(ask: AdminAsk): Promise<AdminAnswer>
  team(ask: AdminAsk): Promise<AdminAnswer>
}

/** Both doors of an edge's administration. */
export function apiOf(edge: RunningEdge, folder: string): Api {
  const ca = readFileSync(join(folder, 'ca', 'ca.pem'))
  const team = () =>
    connectTls({ port: edge.port, host: '127.0.0.1', servername: edge.teamDomain, ca, ALPNProtocols: ['http/1.1'] })
  return {
    socket: ask => exchange(connectPlain(edge.adminSocket ?? ''), 'connect', ask, 'localhost'),
    team: ask => exchange(team(), 'secureConnect', ask, edge.teamDomain),
  }
}

async function exchange(socket: Socket, ready: string, ask: AdminAsk, host: string): Promise<AdminAnswer> {
  const whole = readAnswer(socket, ask.method === 'HEAD')
  await new Promise<void>((resolve, reject) => {
    socket.once(ready, resolve)
    socket.once('error', reject)
  })
  socket.on('error', () => {})
  socket.write(bytesOf(ask, host))
  const text = Buffer.from(await whole, 'latin1').toString('utf8')
  const answer = parseAnswer(text)
  const body = text.slice(text.indexOf('\r\n\r\n') + 4)
  const isJson = /json$/.test(answer.headers['content-type'] ?? '') && body !== ''
  return { ...answer, body, json: isJson ? (JSON.parse(body) as Json) : undefined }
}

function bytesOf(
  { method = 'GET', path, target, token, body, raw, headers = [], host }: AdminAsk,
  ours: string,
): Buffer {
  const sent = raw ?? (body === undefined ? undefined : JSON.stringify(body))
  const content = sent === undefined ? Buffer.alloc(0) : Buffer.from(sent)
  const lines = [
    `${method} ${target ?? `/api/v1${path ?? ''}`} HTTP/1.1`,
    `Host: ${host ?? ours}`,
    ...(token === undefined ? [] : [`Authorization: Bearer ${token}`]),
    ...(sent === undefined ? [] : ['Content-Type: application/json', `Content-Length: ${content.length}`]),
    ...headers,
  ]
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), content])
}
