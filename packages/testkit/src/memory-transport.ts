import { type MemoryEnd, memoryPair, type PairOptions } from '@postern/compliance'
import {
  type Call,
  type Dialled,
  type DialRequest,
  type HttpDoor,
  type Incoming,
  PosternError,
  type ReceivedHeaders,
  type SentHeaders,
  type Transport,
  type TransportListener,
} from '@postern/interface'

export interface MemoryTransport {
  readonly client: Transport
  readonly edge: TransportListener
  /** The network fails: every pipe is cut at both ends. */
  kill(): void
  /** Pipes that live. */
  readonly pipes: number
}

/** Client and edge in one process, without a socket: what one side dials arrives at the other. */
export function memoryTransport(options: PairOptions = {}): MemoryTransport {
  const pipes = new Set<MemoryEnd>()
  let accept: ((incoming: Incoming) => Promise<void>) | undefined
  const pair = (): readonly [MemoryEnd, MemoryEnd] => {
    const both = memoryPair(options)
    pipes.add(both[0])
    for (const end of both) end.on('close', () => pipes.delete(both[0])).on('error', () => {})
    return both
  }
  const dial = async (request: DialRequest, call: Call): Promise<Dialled> => {
    call.signal.throwIfAborted()
    if (!accept) throw new PosternError('EDGE_UNREACHABLE', 'no edge is mounted')
    const { promise, resolve, reject } = Promise.withResolvers<Dialled>()
    const aborted = (): void => reject(call.signal.reason)
    call.signal.addEventListener('abort', aborted, { once: true })
    try {
      accept(await arrival(request, call, pair, resolve, reject)).catch(reject)
      return await promise
    } finally {
      call.signal.removeEventListener('abort', aborted)
    }
  }
  const mount = async (_door: HttpDoor, taker: typeof accept, call: Call): Promise<void> => {
    call.signal.throwIfAborted()
    accept = taker
    call.signal.addEventListener('abort', () => (accept = undefined), { once: true })
  }
  return {
    client: { dial },
    edge: { door: 'http', mount },
    kill: () => {
      for (const pipe of [...pipes]) pipe.kill()
    },
    get pipes() {
      return pipes.size
    },
  }
}

async function arrival(
  request: DialRequest,
  call: Call,
  pair: () => readonly [MemoryEnd, MemoryEnd],
  resolve: (dialled: Dialled) => void,
  reject: (error: unknown) => void,
): Promise<Incoming> {
  const { headers } = request.credential
  const url = new URL(`https://${request.host}/`)
  const own = typeof headers === 'function' ? await headers({ method: 'GET', url }, call) : headers
  return {
    purpose: request.purpose,
    host: request.host,
    presented: {
      method: 'GET',
      url: '/',
      headers: { ...received(request.headers), ...received(own) },
      remoteAddress: '127.0.0.1',
    },
    reject: async (problem, more) => {
      reject(PosternError.fromProblem(problem, { refusal: { status: problem.status, headers: received(more) } }))
    },
    accept: async answer => {
      call.signal.throwIfAborted()
      const [client, edge] = pair()
      resolve({ pipe: client, answer: received(answer) })
      return edge
    },
  }
}

function received(sent: SentHeaders = {}): ReceivedHeaders {
  return Object.fromEntries(Object.entries(sent).map(([name, values]) => [name.toLowerCase(), [values].flat()]))
}
