import { once } from 'node:events'
import net, { type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type {
  Call,
  Json,
  OfferedStream,
  OptionSpecs,
  Options,
  Plugin,
  ProtocolServer,
  RemoteSide,
} from '@postern/interface'
import type { Framework } from '../case.ts'
import { abortable, within } from '../expect.ts'
import { fakeOriginHost } from '../hosts.ts'
import { listen, shut, track } from '../listening.ts'
import { type MemoryEnd, memoryPair } from '../memory-pair.ts'
import { withDefaults } from '../options.ts'
import { type RecordingLog, recordingLog } from '../recording.ts'
import type { Outcome } from './client-rig.ts'

export interface ProtocolOriginKit<O extends OptionSpecs> extends Framework {
  readonly origin: Plugin<'protocol', 'origin', O>
  readonly originOptions?: Partial<Options<O>>
  /** As an ingress rule would say it. Default `tcp://localhost:1`; the kit answers for whatever it names. */
  readonly service?: URL
  /** What the allow rule permits. Default `null`. */
  readonly permit?: Json
}

export interface ProtocolOriginSubject {
  create(): Promise<ProtocolServer>
  readonly service: URL
  readonly permit: Json
}

export function protocolOriginSubject<O extends OptionSpecs>(
  kit: Omit<ProtocolOriginKit<O>, keyof Framework>,
): ProtocolOriginSubject {
  return {
    create: async () => kit.origin.create(withDefaults(kit.origin.options, kit.originOptions), fakeOriginHost()),
    service: kit.service ?? new URL('tcp://localhost:1'),
    permit: kit.permit ?? null,
  }
}

export interface Served {
  /** The user's program, as far as the daemon can see. */
  readonly user: MemoryEnd
  /** The service. */
  readonly service: Duplex
  readonly outcome: Promise<Outcome>
}

export interface Serving {
  readonly user: MemoryEnd
  readonly outcome: Promise<Outcome>
  /** `dial` and `accept`, in the order they were called. */
  readonly steps: readonly string[]
}

export interface ProtocolOriginRig {
  readonly log: RecordingLog
  /** In place of a connection to the service. */
  onDial: ((call: Call) => Promise<Duplex>) | undefined
  /** In place of the user's stream. */
  onAccept: (() => Duplex) | undefined
  abort(reason: unknown): void
  /** A user's stream is offered. */
  serve(): Serving
  /** The next connection the service got. */
  service(): Promise<Socket>
  /** Offers a stream and waits until both ends are there. */
  served(): Promise<Served>
  /** A real connection to the service, as `remote.dial` makes it. */
  connect(): Promise<Socket>
  /** Connections the service has open. */
  readonly connections: number
}

export async function withProtocolOrigin(
  subject: ProtocolOriginSubject,
  call: Call,
  body: (rig: ProtocolOriginRig) => Promise<void>,
): Promise<void> {
  await using owned = new AsyncDisposableStack()
  const server = await subject.create()
  owned.defer(async () => void (await server[Symbol.asyncDispose]?.()))
  const rig = new Rig(server, subject, call)
  owned.defer(() => rig.close())
  await rig.start()
  await body(rig)
}

class Rig implements ProtocolOriginRig {
  readonly log = recordingLog()
  onDial: ((call: Call) => Promise<Duplex>) | undefined
  onAccept: (() => Duplex) | undefined
  readonly abort: (reason: unknown) => void
  readonly #call: Call
  readonly #protocol: ProtocolServer
  readonly #subject: ProtocolOriginSubject
  readonly #server = net.createServer({ allowHalfOpen: true, noDelay: true })
  readonly #sockets = track(this.#server)
  readonly #dialled = new Set<Duplex>()
  readonly #arrived: Socket[] = []
  readonly #waiting: ((socket: Socket) => void)[] = []
  #port = 0

  constructor(protocol: ProtocolServer, subject: ProtocolOriginSubject, call: Call) {
    this.#protocol = protocol
    this.#subject = subject
    const own = abortable({ signal: call.signal, log: this.log })
    this.#call = own.call
    this.abort = own.abort
  }

  get connections(): number {
    return this.#sockets.size
  }

  async start(): Promise<void> {
    this.#server.on('connection', socket => {
      socket.on('error', () => {})
      const waiter = this.#waiting.shift()
      if (waiter) waiter(socket)
      else this.#arrived.push(socket)
    })
    this.#port = await listen(this.#server)
  }

  async connect(): Promise<Socket> {
    const socket = net.connect({ port: this.#port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    this.#dialled.add(socket)
    await once(socket, 'connect')
    return socket
  }

  serve(): Serving {
    const steps: string[] = []
    const [inside, user] = memoryPair()
    for (const end of [inside, user]) {
      end.on('error', () => {})
      this.#dialled.add(end)
    }
    const offered: OfferedStream = {
      accept: () => {
        steps.push('accept')
        return this.onAccept ? this.onAccept() : inside
      },
    }
    const remote: RemoteSide = {
      service: this.#subject.service,
      identities: [],
      permit: this.#subject.permit,
      dial: async call => {
        steps.push('dial')
        call.signal.throwIfAborted()
        return this.onDial ? this.onDial(call) : this.connect()
      },
      audit: () => {},
    }
    const outcome = this.#protocol.serve(offered, remote, this.#call).then(
      () => ({ resolved: true as const }),
      (error: unknown) => {
        // As a host does: what is thrown cuts the stream.
        inside.destroy(error instanceof Error ? error : new Error(String(error)))
        return { resolved: false as const, error }
      },
    )
    return { user, outcome, steps }
  }

  service(): Promise<Socket> {
    const arrived = this.#arrived.shift()
    if (arrived) return Promise.resolve(arrived)
    return within(new Promise(resolve => this.#waiting.push(resolve)), 'the service must be dialled')
  }

  async served(): Promise<Served> {
    const { user, outcome } = this.serve()
    return { user, outcome, service: await this.service() }
  }

  async close(): Promise<void> {
    this.abort(new Error('the case is over'))
    for (const stream of this.#dialled) stream.on('error', () => {}).destroy()
    await shut(this.#server, this.#sockets)
  }
}
