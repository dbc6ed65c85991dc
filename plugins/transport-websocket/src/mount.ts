import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import {
  type Call,
  type Door,
  type Incoming,
  type Pipe,
  type PipePurpose,
  PosternError,
  type Problem,
  problem,
  type SentHeaders,
} from '@postern/interface'
import { endWith, headerLines, refusalBytes } from '@postern/interface/http1'
import { WebSocketServer } from 'ws'
import { BOUNDS, ClosingSocket, WebSocketPipe } from './pipe.ts'
import { readUpgrade, subprotocolOf, wantsWebSocket } from './upgrade.ts'

/**
 * Milliseconds the other end has to answer our close. A foreign client reads a whole TCP connection's last bytes first, our
 * own session ended every stream before.
 */
const CLOSE_WAIT = { raw: 30_000, ours: 5000 }

type Accept = (incoming: Incoming) => Promise<void>

/** Claims the upgrades at the door until the call is aborted. */
export async function mount(door: Door, accept: Accept, call: Call): Promise<void> {
  call.signal.throwIfAborted()
  const options = { ...BOUNDS, noServer: true, clientTracking: false, WebSocket: ClosingSocket }
  const server = new WebSocketServer<typeof ClosingSocket>(options)
  const release = door.onUpgrade((request, socket, head) => {
    if (!wantsWebSocket(request)) return false
    void serve(new Visit(server, request, socket, head), door, accept, call)
    return true
  })
  call.signal.addEventListener('abort', release, { once: true })
}

/** Never rejects: whatever goes wrong ends this visitor's socket and nothing else. */
async function serve(visit: Visit, door: Door, accept: Accept, call: Call): Promise<void> {
  const { request } = visit
  try {
    const upgrade = readUpgrade(request)
    if ('code' in upgrade) {
      const version: SentHeaders = upgrade.code === 'BAD_USAGE' ? { 'sec-websocket-version': '13' } : {}
      return await visit.reject(
        problem(upgrade.code, randomUUID(), { speaker: 'edge', detail: upgrade.detail }),
        version,
      )
    }
    await accept({
      purpose: upgrade.purpose,
      host: request.headers.host ?? '',
      presented: door.present(request),
      reject: (refusal, headers) => visit.reject(refusal, headers),
      accept: answer => visit.accept(upgrade.purpose, answer),
    })
    if (!visit.answered) call.log.warn('nobody answered an upgrade')
  } catch (error) {
    call.log.warn('an upgrade failed', { error: PosternError.from(error).message })
  }
  if (!visit.answered) await visit.reject(problem('INTERNAL', randomUUID(), { speaker: 'edge' })).catch(() => {})
}

type Server = InstanceType<typeof WebSocketServer<typeof ClosingSocket>>

/** One upgrade, answered once. */
class Visit {
  answered = false
  readonly request: IncomingMessage
  readonly #server: Server
  readonly #socket: Duplex
  readonly #head: Buffer

  constructor(server: Server, request: IncomingMessage, socket: Duplex, head: Buffer) {
    this.#server = server
    this.request = request
    this.#socket = socket
    this.#head = head
    // Until somebody answers nobody else listens, and an unheard 'error' would end the process.
    socket.on('error', ignore)
  }

  async reject(refusal: Problem, headers?: SentHeaders): Promise<void> {
    const bytes = refusalBytes(refusal, headers)
    this.#answer()
    await endWith(this.#socket, bytes)
  }

  async accept(purpose: PipePurpose, answer: SentHeaders = {}): Promise<Pipe> {
    const lines = headerLines(answer)
    this.#answer()
    const socket = this.#upgrade(subprotocolOf(purpose), lines)
    if (!socket) throw new PosternError('STREAM_CUT', 'the client left before it was answered')
    this.#socket.off('error', ignore)
    return new WebSocketPipe(socket, {
      connection: this.#socket,
      text: purpose === 'raw',
      closeWait: purpose === 'raw' ? CLOSE_WAIT.raw : CLOSE_WAIT.ours,
    })
  }

  #answer(): void {
    if (this.answered) throw new PosternError('INTERNAL', 'an upgrade can be answered once')
    this.answered = true
  }

  /** ws does all of this before it returns; so what we add to its head cannot land in another visitor's. */
  #upgrade(subprotocol: string | undefined, lines: readonly string[]): ClosingSocket | undefined {
    let upgraded: ClosingSocket | undefined
    const addLines = (head: string[]): void => {
      head.push(...lines)
    }
    this.#server.options.handleProtocols = () => subprotocol ?? false
    this.#server.on('headers', addLines)
    try {
      this.#server.handleUpgrade(this.request, this.#socket, this.#head, socket => {
        upgraded = socket
      })
    } finally {
      this.#server.off('headers', addLines)
    }
    return upgraded
  }
}

function ignore(): void {}
