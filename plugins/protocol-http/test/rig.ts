// The daemon’s side of a stream of requests, in memory: rules as a test says, services that are really dialled.
import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import type { Duplex } from 'node:stream'
import { fakeOriginHost, type MemoryEnd, memoryPair, recordingLog } from '@postern/compliance'
import {
  type Call,
  type OriginHost,
  PosternError,
  type ProtocolServer,
  type RequestAnswer,
  type RequestRule,
} from '@postern/interface'
import origin from '../src/origin.ts'

export const HOSTNAME = 'app.example.com'

export interface TestRule extends RequestRule {
  /** Connections that were made for it, in order. */
  readonly dialled: Duplex[]
  remove(): void
}

/** Where a test’s service is. */
export function at(server: { address(): unknown } | number, scheme = 'http'): URL {
  const port = typeof server === 'number' ? server : (server.address() as AddressInfo).port
  return new URL(`${scheme}://localhost:${port}`)
}

export function rule(service: URL | number, options: Readonly<Record<string, unknown>> = {}): TestRule {
  const end = new AbortController()
  const dialled: Duplex[] = []
  return {
    service,
    options,
    signal: end.signal,
    dialled,
    remove: () =>
      end.abort(new PosternError('INGRESS_NOT_FOUND', 'the ingress rule was removed', { speaker: 'daemon' })),
    async dial({ signal }) {
      signal.throwIfAborted()
      if (typeof service === 'number') throw new PosternError('INTERNAL', 'a status was dialled')
      const socket = connect({ port: Number(service.port), host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
      dialled.push(socket)
      socket.on('error', () => {})
      await once(socket, 'connect', { signal }).catch((cause: NodeJS.ErrnoException) => {
        socket.destroy()
        if (signal.aborted) throw signal.reason
        throw new PosternError('ORIGIN_REFUSED', `refused at ${service.host}`, { cause, speaker: 'service' })
      })
      return socket
    },
  }
}

/** A daemon that serves one hostname. */
export class Rig implements AsyncDisposable {
  readonly log = recordingLog()
  readonly answers: RequestAnswer[] = []
  /** The rule of a path; replaced at any time, as a config file is. */
  rules: (path: string) => RequestRule | undefined
  readonly #server: Promise<ProtocolServer>
  readonly #end = new AbortController()
  readonly #streams: MemoryEnd[] = []

  constructor(rules: RequestRule | ((path: string) => RequestRule | undefined), host: OriginHost = fakeOriginHost()) {
    this.rules = typeof rules === 'function' ? rules : () => rules
    this.#server = Promise.resolve(origin.create({}, host))
  }

  get call(): Call {
    return { signal: this.#end.signal, log: this.log }
  }

  /** Opens a stream, as the edge does. */
  async open(): Promise<{ readonly stream: MemoryEnd; readonly over: Promise<unknown> }> {
    const [ours, stream] = memoryPair()
    this.#streams.push(ours, stream)
    for (const one of [ours, stream]) one.on('error', () => {})
    const server = await this.#server
    const over = server.serveRequests?.(
      { accept: () => ours },
      {
        hostname: HOSTNAME,
        at: path => this.rules(path),
        answered: answer => void this.answers.push(answer),
      },
      this.call,
    )
    // As a host does: what is thrown cuts the stream.
    return {
      stream,
      over: Promise.resolve(over).then(
        () => undefined,
        error => {
          ours.destroy(error)
          return error
        },
      ),
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort(new Error('the test is over'))
    for (const stream of this.#streams) stream.destroy()
    await (await this.#server)[Symbol.asyncDispose]?.()
  }
}

/** All that comes until the end, or until it is cut. */
export async function readAll(stream: Duplex): Promise<{ readonly text: string; readonly cut: boolean }> {
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => void chunks.push(chunk))
  const ended = new Promise<boolean>(resolve => {
    stream.once('end', () => resolve(false)).once('close', () => resolve(true))
  })
  const cut = await ended
  return { text: Buffer.concat(chunks).toString('latin1'), cut }
}

/** Waits until what came matches. */
export async function readUntil(stream: Duplex, wanted: RegExp): Promise<string> {
  let text = ''
  return new Promise((resolve, reject) => {
    const settle = (): void => void stream.off('data', onData).off('close', onClose)
    const onData = (chunk: Buffer): void => {
      text += chunk.toString('latin1')
      if (!wanted.test(text)) return
      settle()
      resolve(text)
    }
    const onClose = (): void => {
      settle()
      reject(new Error(`closed after ${JSON.stringify(text)}`))
    }
    stream.on('data', onData).once('close', onClose)
  })
}

/** Sends one request with `Connection: close` and reads the answer. */
export async function ask(
  rig: Rig,
  head: string,
  body = '',
): Promise<{ readonly text: string; readonly cut: boolean }> {
  const { stream } = await rig.open()
  const got = readAll(stream)
  stream.write(`${head}\r\nHost: ${HOSTNAME}\r\nConnection: close\r\n\r\n${body}`, 'latin1')
  return got
}

/** What the daemon told the edge. */
export function problemIn(text: string): { readonly code: string; readonly status: number } & Record<string, unknown> {
  const value = /^postern-problem: (.*)\r$/m.exec(text)?.[1]
  if (value === undefined) throw new Error(`no problem in ${JSON.stringify(text)}`)
  return JSON.parse(value)
}
