import net, { type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Call, LocalListener, LocalSide, OptionSpecs, Options, Plugin, Protocol } from '@postern/interface'
import type { Framework } from '../case.ts'
import { abortable, within } from '../expect.ts'
import { APPLICATION, fakeClientHost } from '../hosts.ts'
import { listen, shut, track } from '../listening.ts'
import { type MemoryEnd, memoryPair } from '../memory-pair.ts'
import { withDefaults } from '../options.ts'
import { type RecordingLog, recordingLog } from '../recording.ts'

/** How the local program is reached. */
export type Way = 'stdio' | 'listener'

export interface ProtocolClientKit<O extends OptionSpecs> extends Framework {
  readonly client: Plugin<'protocol', 'client', O>
  readonly clientOptions?: Partial<Options<O>>
  /** Default both. */
  readonly ways?: readonly Way[]
}

export interface ProtocolClientSubject {
  create(): Promise<Protocol>
}

export function protocolClientSubject<O extends OptionSpecs>(
  kit: Omit<ProtocolClientKit<O>, keyof Framework>,
): ProtocolClientSubject {
  return {
    create: async () => kit.client.create(withDefaults(kit.client.options, kit.clientOptions), fakeClientHost()),
  }
}

/** How `connect()` ended. */
export type Outcome = { readonly resolved: true } | { readonly resolved: false; readonly error: unknown }

/** One local program on one side, the tunnel's far end on the other, and the plugin between. */
export interface Bridge {
  readonly local: Duplex
  /** What the far end of the tunnel reads and writes. */
  readonly far: MemoryEnd
  /** The plugin's own end of that stream: destroying it with an error is how a host tells a cut and its reason. */
  readonly stream: MemoryEnd
}

export interface ProtocolClientRig {
  readonly log: RecordingLog
  readonly way: Way
  readonly outcome: Promise<Outcome>
  /** Streams asked for so far. */
  readonly opens: number
  /** In place of the tunnel's answer to `open()`. */
  onOpen: ((call: Call) => Promise<void>) | undefined
  abort(reason: unknown): void
  /** The local program comes. */
  visit(): Promise<Duplex>
  /** The next stream that was opened. */
  stream(): Promise<{ readonly far: MemoryEnd; readonly stream: MemoryEnd }>
  bridge(): Promise<Bridge>
}

export interface ProtocolClientRigOptions {
  readonly way: Way
  /** In place of the tunnel's answer, from the first `open()` on. */
  readonly onOpen?: (call: Call) => Promise<void>
}

export async function withProtocolClient(
  subject: ProtocolClientSubject,
  call: Call,
  options: ProtocolClientRigOptions,
  body: (rig: ProtocolClientRig) => Promise<void>,
): Promise<void> {
  await using owned = new AsyncDisposableStack()
  const protocol = await subject.create()
  owned.defer(async () => void (await protocol[Symbol.asyncDispose]?.()))
  const rig = new Rig(options, call)
  owned.defer(() => rig.close())
  await rig.start(protocol)
  await body(rig)
}

class Rig implements ProtocolClientRig {
  readonly log = recordingLog()
  readonly way: Way
  outcome!: Promise<Outcome>
  opens = 0
  onOpen: ((call: Call) => Promise<void>) | undefined
  abort: (reason: unknown) => void
  readonly #call: Call
  readonly #stdio = memoryPair()
  readonly #server = net.createServer({ allowHalfOpen: true, noDelay: true })
  readonly #sockets = track(this.#server)
  readonly #visitors: Socket[] = []
  readonly #streams: { far: MemoryEnd; stream: MemoryEnd }[] = []
  readonly #opened: { far: MemoryEnd; stream: MemoryEnd }[] = []
  readonly #waiting: ((opened: { far: MemoryEnd; stream: MemoryEnd }) => void)[] = []

  constructor({ way, onOpen }: ProtocolClientRigOptions, call: Call) {
    this.way = way
    this.onOpen = onOpen
    const own = abortable({ signal: call.signal, log: this.log })
    this.#call = own.call
    this.abort = own.abort
  }

  async start(protocol: Protocol): Promise<void> {
    const listener = this.way === 'listener' ? await this.#listener() : undefined
    const local: LocalSide = {
      app: APPLICATION,
      stdio: this.#stdio[0],
      open: call => this.#open(call),
      ...(listener && { listener }),
    }
    this.outcome = protocol.connect(local, this.#call).then(
      () => ({ resolved: true }),
      (error: unknown) => ({ resolved: false, error }),
    )
  }

  async visit(): Promise<Duplex> {
    if (this.way === 'stdio') return this.#stdio[1]
    const { port } = this.#server.address() as net.AddressInfo
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    this.#visitors.push(socket)
    socket.on('error', () => {})
    // A connection that was refused at once may be reset before it was seen to be made.
    await new Promise(resolve => socket.once('connect', resolve).once('close', resolve))
    return socket
  }

  stream(): Promise<{ far: MemoryEnd; stream: MemoryEnd }> {
    const opened = this.#opened.shift()
    if (opened) return Promise.resolve(opened)
    return within(new Promise(resolve => this.#waiting.push(resolve)), 'a stream must be opened')
  }

  async bridge(): Promise<Bridge> {
    const local = await this.visit()
    return { local, ...(await this.stream()) }
  }

  async #open(call: Call): Promise<Duplex> {
    this.opens++
    call.signal.throwIfAborted()
    await this.onOpen?.(call)
    const [stream, far] = memoryPair()
    far.on('error', () => {})
    this.#streams.push({ far, stream })
    const waiter = this.#waiting.shift()
    if (waiter) waiter({ far, stream })
    else this.#opened.push({ far, stream })
    return stream
  }

  async #listener(): Promise<LocalListener> {
    const port = await listen(this.#server)
    return { address: `127.0.0.1:${port}`, connections: call => connectionsOf(this.#server, call) }
  }

  async close(): Promise<void> {
    this.abort(new Error('the case is over'))
    for (const socket of this.#visitors) socket.destroy()
    for (const { far, stream } of this.#streams) {
      stream.on('error', () => {}).destroy()
      far.destroy()
    }
    for (const end of this.#stdio) end.on('error', () => {}).destroy()
    if (this.#server.listening) await shut(this.#server, this.#sockets)
  }
}

/** As a host's listener: ends quietly when the call is aborted. */
async function* connectionsOf(server: net.Server, call: Call): AsyncIterable<Duplex> {
  const arrived: Socket[] = []
  let wake = (): void => {}
  const arrive = (socket: Socket): void => {
    arrived.push(socket)
    wake()
  }
  const aborted = (): void => wake()
  server.on('connection', arrive)
  call.signal.addEventListener('abort', aborted, { once: true })
  try {
    while (!call.signal.aborted) {
      const next = arrived.shift()
      if (next) yield next
      else
        await new Promise<void>(resolve => {
          wake = resolve
        })
    }
  } finally {
    server.off('connection', arrive)
    call.signal.removeEventListener('abort', aborted)
  }
}
