// Transports with one fault each, and the case that must notice.
import { type Call, type DialRequest, PosternError, type Transport, type TransportListener } from '@postern/interface'
import { transportCases } from '../../src/index.ts'
import type { Broken } from '../expect-failure.ts'
import { FramedPipe } from '../good/framed-pipe.ts'
import { type Parts, referenceTransport } from '../good/transport.ts'

class TakesCutForEnd extends FramedPipe {
  protected override lost(): void {
    if (!this.peerEnded) this.ended()
  }
}

class TakesEndForCut extends FramedPipe {
  protected override ended(): void {
    this.peerEnded = true
    this.destroy(new PosternError('STREAM_CUT', 'an end that was clean'))
  }
}

class CutsSilently extends FramedPipe {
  protected override lost(): void {
    this.destroy()
  }
}

class DropsBytesAtEnd extends FramedPipe {
  protected override ended(): void {
    // Throws away what was not read yet.
    while (this.readableLength > 0 && this.read() !== null);
    super.ended()
  }
}

class DropsUnreadOnLoss extends FramedPipe {
  protected override deliver(payload: Buffer): void {
    if (this.listenerCount('data') > 0) super.deliver(payload)
  }
}

class TakesWithoutLimit extends FramedPipe {
  protected override deliver(payload: Buffer): void {
    this.push(payload)
  }

  protected override send(frame: Buffer, callback: () => void): void {
    this.socket.write(frame)
    callback()
  }
}

class LosesOne extends FramedPipe {
  #count = 0

  protected override deliver(payload: Buffer): void {
    if (++this.#count !== 500) super.deliver(payload)
  }
}

class StaysOpen extends FramedPipe {
  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (error || !this.peerEnded) this.socket.destroy()
    callback(error)
  }
}

type Dial = (dial: Transport['dial'], request: DialRequest, call: Call) => ReturnType<Transport['dial']>
type Mount = (mount: TransportListener['mount'], ...all: Parameters<TransportListener['mount']>) => Promise<void>

const dialling = (worse: Dial): Partial<Parts> => ({
  wrapClient: good => ({ dial: (request, call) => worse(good.dial, request, call) }),
})

const mounting = (worse: Mount): Partial<Parts> => ({
  wrapEdge: good => ({ ...good, mount: (...all) => worse(good.mount, ...all) }),
})

const never = (): AbortSignal => new AbortController().signal

const leaked = new Set<NodeJS.Timeout>()

/** What the leaking transport left behind, on purpose. */
export function clearLeaks(): void {
  for (const timer of leaked) clearInterval(timer)
}

const FAULTS: readonly (readonly [fault: string, parts: Partial<Parts>, fails: string, saying: RegExp])[] = [
  ['takes a cut for an end', { Pipe: TakesCutForEnd }, 'cut by the client while idle: an error, never end', /saw end/],
  [
    'takes a lost connection for an end',
    { Pipe: TakesCutForEnd },
    'a network that closes the connection in mid-transfer is a cut at both ends',
    /saw end/,
  ],
  ['takes an end for a cut', { Pipe: TakesEndForCut }, 'clean end by the edge: every byte, then end', /as end/],
  ['cuts without an error', { Pipe: CutsSilently }, 'cut by the edge while idle: an error, never end', /saw a close/],
  [
    'drops bytes at the end',
    { Pipe: DropsBytesAtEnd },
    'clean end by the client: a last word waits for its reader',
    /what was read/,
  ],
  [
    'drops bytes that nobody reads yet',
    { Pipe: DropsUnreadOnLoss },
    'the first bytes sent right behind the handshake arrive',
    /must arrive/,
  ],
  [
    'takes without limit',
    { Pipe: TakesWithoutLimit },
    'a reader that stops holds the writer back, client to edge',
    /swallowed 67108864 bytes/,
  ],
  [
    'loses one message',
    { Pipe: LosesOne },
    '10,000 small writes arrive in order, both ways at once',
    /bytes arrived, and then no more/,
  ],
  [
    'loses one message of many',
    { Pipe: LosesOne },
    '64 MiB arrive unchanged, client to edge',
    /bytes arrived, and then no more/,
  ],
  ['never closes', { Pipe: StaysOpen }, 'clean end by the edge: after both ended, both close', /must be closed/],
  [
    'ignores an abort before dial',
    dialling((dial, request, { log }) => dial(request, { signal: never(), log })),
    'abort before dial: rejects with signal.reason and connects nowhere',
    /still not after|should have failed/,
  ],
  [
    'ignores an abort while the edge thinks',
    dialling((dial, request, { log }) => dial(request, { signal: never(), log })),
    'abort while the edge thinks: rejects with signal.reason and leaves',
    /still not after/,
  ],
  [
    'wraps the reason',
    dialling((dial, request, call) => dial(request, call).catch(error => Promise.reject(PosternError.from(error)))),
    'abort while connecting: rejects with signal.reason',
    /signal\.reason itself/,
  ],
  [
    'ties the pipe to the call',
    dialling(async (dial, request, call) => {
      const dialled = await dial(request, call)
      call.signal.addEventListener('abort', () => dialled.pipe.destroy(), { once: true })
      return dialled
    }),
    'abort after dial: the pipe lives, and nobody listens to the signal any more',
    /listener on the signal was left/,
  ],
  [
    'wraps what connect threw',
    dialling((dial, request, call) =>
      dial(request, call).catch(cause => Promise.reject(new PosternError('EDGE_UNREACHABLE', 'no', { cause }))),
    ),
    'a dead port: what connect threw comes through as it is',
    /not wrapped|cause must be kept/,
  ],
  [
    'forgets what the edge said',
    dialling((dial, request, call) =>
      dial(request, call).catch(cause => Promise.reject(new PosternError('EDGE_PROTOCOL', 'refused', { cause }))),
    ),
    'refusals arrive: status, code, request id and text',
    /the code is EDGE_PROTOCOL/,
  ],
  [
    'joins headers sent twice',
    dialling((dial, request, call) => {
      const headers = request.credential.headers as Record<string, string | string[]>
      const joined = Object.entries(headers).map(([name, value]) => [name, [value].flat().join(', ')])
      return dial({ ...request, credential: { headers: Object.fromEntries(joined) } }, call)
    }),
    'headers arrive intact, with every value of one sent twice',
    /the header x-twice/,
  ],
  [
    'logs a secret',
    dialling((dial, request, call) => {
      call.log.debug('dialling', { with: JSON.stringify(request.credential) })
      return dial(request, call)
    }),
    'secrets never reach the log, an error or the terminal',
    /reached the log/,
  ],
  [
    'tells a secret in an error',
    dialling((dial, request, call) =>
      dial(request, call).catch(error => Promise.reject(Object.assign(error, { request: request.credential }))),
    ),
    'secrets never reach the log, an error or the terminal',
    /reached an error/,
  ],
  [
    'leaks a timer',
    dialling((dial, request, call) => {
      leaked.add(setInterval(() => {}, 60_000))
      return dial(request, call)
    }),
    'nothing is left open',
    /Timeout ×/,
  ],
  [
    'claims what is not its own',
    mounting((mount, door, accept, call) => {
      door.onUpgrade((_request, socket) => {
        socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')
        return true
      })
      return mount(door, accept, call)
    }),
    'mount: leaves to others what is not its own',
    /400/,
  ],
  [
    'holds the door for ever',
    mounting((mount, door, accept, { log }) => mount(door, accept, { signal: never(), log })),
    'mount: lets go on abort, and the pipes it handed over live on',
    /must be free again/,
  ],
  [
    'believes a header about certificates',
    mounting((mount, door, accept, call) => {
      const present: typeof door.present = request => {
        const presented = door.present(request)
        const claimed = request.headers['x-client-cert']
        return claimed ? { ...presented, peerCertificate: Buffer.from(String(claimed)) } : presented
      }
      return mount({ ...door, present, onUpgrade: door.onUpgrade }, accept, call)
    }),
    'the client certificate of the socket arrives, and only that',
    /a header is not a certificate/,
  ],
  [
    'forgets the certificate',
    mounting((mount, door, accept, call) => {
      const present: typeof door.present = request => ({ ...door.present(request), peerCertificate: new Uint8Array() })
      return mount({ ...door, present, onUpgrade: door.onUpgrade }, accept, call)
    }),
    'the client certificate of the socket arrives, and only that',
    /DER of the proved leaf/,
  ],
]

export const BROKEN_TRANSPORTS: readonly Broken[] = FAULTS.map(([fault, parts, fails, saying]) => ({
  fault,
  fails,
  saying,
  cases: transportCases(referenceTransport(parts)),
}))
