import { readFileSync } from 'node:fs'
import type { Duplex } from 'node:stream'
import { connect, type TLSSocket } from 'node:tls'

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** The code of a problem document. */
  readonly code: string | undefined
}

/** A TLS connection to an edge, made by hand: what is written is what is sent. */
export async function dial(port: number, caFile: string, servername: string): Promise<TLSSocket> {
  const socket = connect({ port, host: '127.0.0.1', servername, ca: readFileSync(caFile), ALPNProtocols: ['http/1.1'] })
  socket.on('error', () => {})
  await new Promise<void>((resolve, reject) => {
    socket.once('secureConnect', resolve)
    socket.once('error', reject)
  })
  return socket
}

/** Everything until the other end closes. */
export async function readAll(socket: TLSSocket): Promise<string> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  await new Promise<void>(resolve => {
    socket.once('close', () => resolve())
    socket.once('end', () => socket.end())
  })
  return Buffer.concat(chunks).toString('latin1')
}

export function parseAnswer(text: string): Answer {
  const [head = '', body = ''] = text.split('\r\n\r\n', 2)
  const [start = '', ...lines] = head.split('\r\n')
  const headers = Object.fromEntries(
    lines.map(line => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
  )
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(start)?.[1] ?? 0)
  let code: string | undefined
  if (headers['content-type'] === 'application/problem+json' && body !== '') code = JSON.parse(body).code
  return { status, headers, body, code }
}

/** Where the first answer in a text ends; undefined while it is not all there. */
export function endOfAnswer(text: string, isHead = false): number | undefined {
  const at = text.indexOf('\r\n\r\n')
  if (at < 0) return undefined
  const { status, headers } = parseAnswer(text)
  if (status === 100) return undefined
  const end = at + 4 + (isHead || status === 204 ? 0 : Number(headers['content-length'] ?? Number.POSITIVE_INFINITY))
  return text.length >= end ? end : undefined
}

/** Everything until the first answer is whole, or the other end closes. */
export async function readAnswer(socket: Duplex, isHead: boolean): Promise<string> {
  let text = ''
  await new Promise<void>(resolve => {
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1')
      if (endOfAnswer(text, isHead) !== undefined) resolve()
    })
    socket.once('close', () => resolve())
    socket.once('end', () => socket.end())
  })
  socket.destroy()
  return text
}

export type Ask = (request: string, servername?: string) => Promise<Answer>

/** One request, as it is written, and its answer. */
export function asker(port: number, caFile: string, host: string): Ask {
  return async (request, servername = host) => {
    const socket = await dial(port, caFile, servername)
    const answer = readAnswer(socket, request.startsWith('HEAD '))
    socket.write(request, 'latin1')
    return parseAnswer(await answer)
  }
}
