import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import {
  type AcceptWatch,
  type Code,
  type Pipe,
  type PipePurpose,
  PosternError,
  type Problem,
  type SentHeaders,
} from '@postern/interface'
import { endWith, headerLines, refusalBytes } from '@postern/interface/http1'
import { pipeOf } from './pipe.ts'
import type { Tickets } from './tickets.ts'
import { END_TO_END, isPurpose, MODE_HEADER, PROTOCOL, PURPOSE_HEADER, TICKET_HEADER } from './wire.ts'

/** What is wrong with an upgrade before anybody asks who sent it. */
export interface Fault {
  readonly code: Code
  readonly detail: string
}

/** Headers that speak of a body: something in between that counts one reads another connection than we do. */
const BODY = ['content-length', 'transfer-encoding', 'expect', 'trailer']

/** Strictly: two readers of a sloppy request could read it in two ways. */
export function readPurpose(request: IncomingMessage): PipePurpose | Fault {
  const { headersDistinct: headers, method, httpVersion } = request
  const one = (name: string): string | undefined => (headers[name]?.length === 1 ? headers[name][0] : undefined)
  if (method !== 'GET' || httpVersion !== '1.1') return bad('an upgrade starts with GET over HTTP/1.1')
  if (BODY.some(name => headers[name])) return bad('an upgrade starts without a body')
  if (one('host') === undefined) return bad('exactly one Host is wanted')
  const wanted = one('upgrade')?.toLowerCase()
  if (wanted !== PROTOCOL && /^postern\/\d{1,9}$/.test(wanted ?? ''))
    return { code: 'VERSION_UNSUPPORTED', detail: `this edge does not speak ${wanted}` }
  if (wanted !== PROTOCOL) return bad(`exactly one Upgrade: ${PROTOCOL} is wanted`)
  const purpose = one(PURPOSE_HEADER)
  return isPurpose(purpose) ? purpose : bad(`${PURPOSE_HEADER} is session, connector or join, once`)
}

function bad(detail: string): Fault {
  return { code: 'BAD_USAGE', detail }
}

/** One upgrade, answered once. */
export class Visit {
  answered = false
  readonly request: IncomingMessage
  readonly #socket: Duplex
  readonly #tickets: Tickets

  /** @param head what came behind the request already */
  constructor(request: IncomingMessage, socket: Duplex, head: Buffer, tickets: Tickets) {
    this.request = request
    this.#socket = socket
    this.#tickets = tickets
    // Until somebody answers nobody else listens, and an unheard 'error' would end the process.
    socket.on('error', ignore)
    if (head.length > 0) socket.unshift(head)
  }

  async reject(refusal: Problem, headers?: SentHeaders): Promise<void> {
    // By this it is told from the refusal of an edge that does not know the protocol.
    const bytes = refusalBytes(refusal, { ...headers, upgrade: PROTOCOL })
    this.#answer()
    await endWith(this.#socket, bytes)
  }

  /** A client that is joined end-to-end comes on another connection, which is its pipe. */
  async accept(purpose: PipePurpose, answer: SentHeaders = {}, watch?: AcceptWatch): Promise<Pipe> {
    if (purpose === 'join' && answer[MODE_HEADER] === END_TO_END) return this.#await(answer, watch)
    this.#switch(answer)
    this.#socket.off('error', ignore)
    return pipeOf(this.#socket)
  }

  /** For as long as the client that asked is there: it goes when nobody is to come for it any more, or somebody came. */
  async #await(answer: SentHeaders, watch?: AcceptWatch): Promise<Pipe> {
    const socket = this.#socket
    const { serverName, came, giveUp } = this.#tickets.make((first, second) => watch?.raced(first, second))
    const left = () => giveUp(new PosternError('STREAM_CUT', 'the client left before it came for its session'))
    const unwanted = () => giveUp(PosternError.from(watch?.signal?.reason))
    try {
      watch?.signal?.throwIfAborted()
      watch?.signal?.addEventListener('abort', unwanted)
      this.#switch({ ...answer, [TICKET_HEADER]: serverName })
      // It has nothing more to say here.
      socket.on('data', left).on('end', left).on('close', left)
      return await came
    } catch (error) {
      left()
      throw error
    } finally {
      watch?.signal?.removeEventListener('abort', unwanted)
      socket.off('data', left).off('end', left).off('close', left)
      if (this.answered) void endWith(socket, Buffer.alloc(0))
    }
  }

  #switch(answer: SentHeaders): void {
    const lines = headerLines(answer)
    this.#answer()
    if (!this.#socket.writable) throw new PosternError('STREAM_CUT', 'the client left before it was answered')
    const start = ['HTTP/1.1 101 Switching Protocols', `upgrade: ${PROTOCOL}`, 'connection: upgrade']
    this.#socket.write(`${[...start, ...lines].join('\r\n')}\r\n\r\n`, 'latin1')
  }

  #answer(): void {
    if (this.answered) throw new PosternError('INTERNAL', 'an upgrade can be answered once')
    this.answered = true
  }
}

function ignore(): void {}
