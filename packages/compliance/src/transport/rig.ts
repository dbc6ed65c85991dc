import {
  type Call,
  type Dialled,
  type DialRequest,
  type Incoming,
  type OptionSpecs,
  type Options,
  type Pipe,
  type Plugin,
  PosternError,
  type SentHeaders,
  type Transport,
  type TransportListener,
} from '@postern/interface'
import type { Framework } from '../case.ts'
import { type TestAuthority, testAuthority } from '../certificates.ts'
import { type Connecting, connecting } from '../connecting.ts'
import { openDoor, type TestDoor } from '../door.ts'
import { within } from '../expect.ts'
import { fakeClientHost, fakeEdgeHost, HOSTNAME } from '../hosts.ts'
import { withDefaults } from '../options.ts'
import { type RecordingLog, recordingLog } from '../recording.ts'
import { openRelay, type Relay } from '../relay.ts'

export interface TransportKit<C extends OptionSpecs, E extends OptionSpecs> extends Framework {
  readonly client: Plugin<'transport', 'client', C>
  readonly edge: Plugin<'transport', 'edge', E>
  /** What a user would give; declared defaults are filled in. */
  readonly clientOptions?: Partial<Options<C>>
  readonly edgeOptions?: Partial<Options<E>>
  /**
   * What a FIN from somebody between the two is to a reader: a cut, or an end as well, where the pipe's bytes are the connection's own.
   * Default `cut`.
   */
  readonly fin?: 'cut' | 'end'
}

/** The plugin to test, with its option types forgotten. */
export interface TransportSubject {
  createClient(): Promise<Transport>
  createEdge(): Promise<TransportListener>
  readonly fin: 'cut' | 'end'
}

export function transportSubject<C extends OptionSpecs, E extends OptionSpecs>(
  kit: Omit<TransportKit<C, E>, keyof Framework>,
): TransportSubject {
  return {
    fin: kit.fin ?? 'cut',
    createClient: async () => kit.client.create(withDefaults(kit.client.options, kit.clientOptions), fakeClientHost()),
    createEdge: async () => kit.edge.create(withDefaults(kit.edge.options, kit.edgeOptions), fakeEdgeHost()),
  }
}

export interface RigOptions {
  readonly tls?: boolean
  /** Puts a network between that can be made to fail. */
  readonly relay?: { readonly slice?: number }
}

export interface Pair extends Dialled {
  readonly edge: Pipe
  readonly incoming: Incoming
}

/** Client and edge of one transport, with real loopback sockets between. */
export interface TransportRig {
  readonly call: Call
  readonly log: RecordingLog
  readonly door: TestDoor
  readonly relay: Relay | undefined
  readonly authority: TestAuthority | undefined
  readonly transport: Transport
  readonly listener: TransportListener
  /** A request to dial the door, and what `connect` was asked for. */
  request(change?: Partial<DialRequest>): { readonly request: DialRequest; readonly connecting: Connecting }
  dial(change?: Partial<DialRequest>, call?: Call): Promise<Dialled>
  /** Who comes to the edge next. */
  next(): Promise<Incoming>
  /** Dials, and lets it in. */
  pair(change?: Partial<DialRequest>, answer?: SentHeaders): Promise<Pair>
  /** Instead of queueing for `next()`. */
  onIncoming(handler: (incoming: Incoming) => Promise<void>): void
  /** Tells the edge side to let go. */
  unmount(): void
}

let authority: TestAuthority | undefined

/** Runs with a fresh pair of sides, and lets go of everything afterwards, whatever happened. */
export async function withRig(
  subject: TransportSubject,
  call: Call,
  options: RigOptions,
  body: (rig: TransportRig) => Promise<void>,
): Promise<void> {
  await using owned = new AsyncDisposableStack()
  if (options.tls) authority ??= testAuthority()
  const tls = options.tls && authority ? { ca: authority.ca, ...serverCertificate(authority) } : undefined
  const door = owned.use(await openDoor(tls))
  const relay = options.relay && owned.use(await openRelay(door.url, options.relay.slice))
  const transport = await subject.createClient()
  owned.defer(() => dispose(transport))
  const listener = await subject.createEdge()
  owned.defer(() => dispose(listener))
  const rig = new Rig(call, door, relay, options.tls ? authority : undefined, transport, listener)
  owned.defer(() => rig.letGo())
  call.signal.addEventListener('abort', () => rig.letGo(), { once: true, signal: rig.over })
  await rig.mount()
  await body(rig)
}

function serverCertificate(of: TestAuthority): ReturnType<TestAuthority['issue']> {
  return of.issue({ commonName: HOSTNAME, dnsNames: [HOSTNAME] })
}

/** A dispose that hangs or throws has its own case; here it must not hide what failed first. */
async function dispose(side: Partial<AsyncDisposable>): Promise<void> {
  await within(Promise.resolve(side[Symbol.asyncDispose]?.()), 'dispose', 2_000).catch(() => {})
}

class Rig implements TransportRig {
  readonly log = recordingLog()
  readonly call: Call
  readonly door: TestDoor
  readonly relay: Relay | undefined
  readonly authority: TestAuthority | undefined
  readonly transport: Transport
  readonly listener: TransportListener
  readonly #mounted = new AbortController()
  readonly #over = new AbortController()
  readonly #connectings: Connecting[] = []
  readonly #pipes: Pipe[] = []
  readonly #arrived: Incoming[] = []
  readonly #waiting: ((incoming: Incoming) => void)[] = []
  /** As an edge does, it is done with somebody only when they were answered. */
  #handler: (incoming: Incoming) => Promise<void> = incoming => {
    const { promise: answered, resolve } = Promise.withResolvers<void>()
    const offered: Incoming = {
      ...incoming,
      reject: (...all) => incoming.reject(...all).finally(resolve),
      accept: (...all) => incoming.accept(...all).finally(resolve),
    }
    const waiter = this.#waiting.shift()
    if (waiter) waiter(offered)
    else this.#arrived.push(offered)
    return answered
  }

  constructor(
    call: Call,
    door: TestDoor,
    relay: Relay | undefined,
    authority: TestAuthority | undefined,
    transport: Transport,
    listener: TransportListener,
  ) {
    this.call = { signal: call.signal, log: this.log }
    this.door = door
    this.relay = relay
    this.authority = authority
    this.transport = transport
    this.listener = listener
  }

  get over(): AbortSignal {
    return this.#over.signal
  }

  mount(): Promise<void> {
    const call = { signal: this.#mounted.signal, log: this.log }
    return within(
      this.listener.mount(this.door, incoming => this.#handler(incoming), call),
      'mount() must resolve once it listens',
    )
  }

  unmount(): void {
    this.#mounted.abort(new PosternError('DRAINING', 'the kit lets go'))
  }

  onIncoming(handler: (incoming: Incoming) => Promise<void>): void {
    this.#handler = handler
  }

  request(change: Partial<DialRequest> = {}): { request: DialRequest; connecting: Connecting } {
    const plain = {
      edge: this.relay?.url ?? this.door.url,
      host: HOSTNAME,
      purpose: 'session' as const,
      headers: {},
      credential: {},
      ca: this.authority ? [this.authority.ca] : [],
      ...change,
    }
    const own = connecting(plain)
    this.#connectings.push(own)
    return { request: { connect: own.connect, ...plain }, connecting: own }
  }

  async dial(change?: Partial<DialRequest>, call: Call = this.call): Promise<Dialled> {
    const dialled = await this.transport.dial(this.request(change).request, call)
    this.#keep(dialled.pipe)
    return dialled
  }

  next(): Promise<Incoming> {
    const arrived = this.#arrived.shift()
    if (arrived) return Promise.resolve(arrived)
    return within(new Promise(resolve => this.#waiting.push(resolve)), 'the dial must arrive at the edge')
  }

  async pair(change?: Partial<DialRequest>, answer?: SentHeaders): Promise<Pair> {
    const dialling = this.dial(change)
    const next = this.next()
    // Whichever fails first says more.
    const incoming = await Promise.race([next, dialling.then(() => next)])
    const edge = await within(incoming.accept(answer), 'accept() must give the pipe')
    this.#keep(edge)
    return { ...(await within(dialling, 'dial() must resolve after accept()')), edge, incoming }
  }

  /** A host listens to the errors of its pipes. */
  #keep(pipe: Pipe): void {
    pipe.on('error', () => {})
    this.#pipes.push(pipe)
  }

  letGo(): void {
    if (this.#over.signal.aborted) return
    this.#over.abort()
    this.unmount()
    for (const pipe of this.#pipes) pipe.destroy()
    for (const { sockets } of this.#connectings) for (const socket of sockets) socket.destroy()
  }
}
