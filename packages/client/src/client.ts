import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Logger, PosternError } from '@postern/interface'
import { type ApplicationClient, createApplicationClient } from './application.ts'
import type { Trust } from './connect.ts'
import { readHostname } from './hostname.ts'
import type { EndToEnd, Pins } from './join.ts'
import { type Lent, lendingTo, memorySecrets, nobody } from './lent.ts'
import { ClientSocket } from './socket.ts'
import { type AuthPart, authParts, type OneOrMore, type TransportPart, transportParts, type Used } from './use.ts'
import { untilAborted } from './waiting.ts'

export interface ClientOptions {
  /**
   * Who this program is: an auth plugin with its options, `use(serviceToken, { id, secret })`, or an object of your own with an
   * `authenticate`. The credentials of several are sent together. An empty list is nobody, whom only a `bypass` rule lets in.
   */
  readonly auth: OneOrMore<AuthPart>
  /**
   * How the edge is reached: a transport plugin as it was imported, `websocket`. Several are tried in order, where one does not get through;
   * what works is tried first from then on.
   */
  readonly transport: OneOrMore<TransportPart>
  /** Where the edge listens, when not at the applications' hostnames themselves: `https://` and a host, with its port where that is not 443. */
  readonly edge?: URL
  /** PEM. Where given, these CAs alone are trusted for the edge; else what the system trusts. The edge's certificate is always verified. */
  readonly ca?: OneOrMore<string>
  /**
   * Default: wherever the edge offers it, the session is with the application's daemon, and the edge copies what it cannot read; whose
   * key that is, the edge says. Give a pin to know it yourself. `false`: the edge is the other end.
   */
  readonly endToEnd?: EndToEndWanted | false
  /** For plugins that keep something or ask somebody. */
  readonly lend?: Lent
  /** `console` will do. Default: nothing is logged. No secret ever is. */
  readonly log?: Logger
}

/** How much the edge is trusted with. */
export interface EndToEndWanted {
  /** Refuses every session that the edge could read: MODE_FORBIDDEN. A pin refuses it for its application. Default false. */
  readonly required?: boolean
  /**
   * The keys of the applications' tunnels by hostname, as `posternd` prints them: `{ 'db.example.com': 'sha256:9f0c…' }`. Or a store of
   * yours: it is asked before each session, and told of a key that was seen for the first time. Another key is TUNNEL_KEY_CHANGED.
   */
  readonly pins?: Readonly<Record<string, string>> | Pins
}

export interface OpenOptions {
  /** Gives the opening up; what was opened stays. Without it each step has a deadline of its own (10 s to the edge, 30 s to the service). */
  readonly signal?: AbortSignal
}

/** A way to every application that this program may reach. */
export interface Client extends AsyncDisposable {
  /**
   * One TCP connection to the service behind a hostname. The first one signs in and makes a session; those that follow share it, and a
   * session that was lost is made anew.
   *
   * @param hostname `db.example.com`, with the edge's port where that is not 443: `db.localhost:8443`
   * @returns a Duplex that half-closes: `end()` is the service's clean end, and a cut is an `error` event with a {@link PosternError}
   * @throws PosternError whose `code` says what happened, `speaker` who said so and `next` what to do: ACCESS_DENIED, AUTH_REJECTED,
   *   TUNNEL_OFFLINE, ORIGIN_REFUSED, EDGE_UNREACHABLE, … (docs/errors.md); `signal.reason`
   *
   * @example
   * const socket = await postern.open('db.example.com', { signal: AbortSignal.timeout(10_000) })
   */
  open(hostname: string, options?: OpenOptions): Promise<Duplex>
  /**
   * The same for libraries that want a socket at once and connect it themselves (`pg`, for example). It opens with its `connect()`, or
   * with the first that is read or written, emits `connect`, and then is what `open` gives; what `open` throws is its `error`.
   *
   * @throws PosternError HOSTNAME_INVALID
   * @example
   * const pool = new pg.Pool({ stream: () => postern.socket('db.example.com') })
   */
  socket(hostname: string): ClientSocket
  /**
   * Ends every session, and with them what is still open; streams that this program has ended, or writes to at that moment, have a second
   * to get it across. The program may exit then. A second call waits for the first.
   */
  close(): Promise<void>
}

/**
 * Reaches applications behind a Postern edge from your own program. Nothing is dialled before the first `open`.
 *
 * @throws PosternError BAD_USAGE without a transport; PLUGIN_SIDE, PLUGIN_API, OPTION_* for a plugin; HOSTNAME_INVALID, OPTION_INVALID for
 *   pins that are none
 *
 * @example
 * import serviceToken from '@postern/auth-service-token/client'
 * import { createClient, use } from '@postern/client'
 * import tls from '@postern/transport-tls/client'
 *
 * await using postern = createClient({ auth: use(serviceToken, { id, secret }), transport: tls })
 * const socket = await postern.open('db.example.com')
 */
export function createClient(options: ClientOptions): Client {
  return new Postern(options)
}

const SILENT: Logger = { debug() {}, info() {}, warn() {}, error() {} }

/** One application: its session, and the plugins that were created for it. */
interface Reached extends AsyncDisposable {
  readonly client: ApplicationClient
}

class Postern implements Client {
  readonly #auth: readonly Used<'auth'>[]
  readonly #transports: readonly Used<'transport'>[]
  readonly #edge: URL | undefined
  readonly #trust: Trust
  readonly #endToEnd: (hostname: string) => EndToEnd | undefined
  readonly #lent: Required<Lent>
  readonly #log: Logger
  /** By hostname and port. One that could not be made is not kept. */
  readonly #reached = new Map<string, Promise<Reached>>()
  readonly #streams = new Set<Duplex>()
  #closing: Promise<void> | undefined

  constructor({ auth, transport, edge, ca = [], endToEnd = {}, lend = {}, log = SILENT }: ClientOptions) {
    this.#auth = authParts(auth)
    this.#transports = transportParts(transport)
    if (this.#transports.length === 0) throw new PosternError('BAD_USAGE', 'a client needs a transport', { next: NEXT })
    this.#edge = edge
    this.#trust = { ca: [ca].flat() }
    this.#endToEnd = readEndToEnd(endToEnd)
    this.#lent = { secrets: lend.secrets ?? memorySecrets(), ui: lend.ui ?? nobody(log) }
    this.#log = log
  }

  async open(hostname: string, { signal = new AbortController().signal }: OpenOptions = {}): Promise<Duplex> {
    signal.throwIfAborted()
    const { client } = await untilAborted(this.#reach(hostname), signal)
    const stream = await client.open({ signal, log: this.#log })
    this.#streams.add(stream)
    return stream.once('close', () => this.#streams.delete(stream))
  }

  socket(hostname: string): ClientSocket {
    readHostname(hostname)
    return new ClientSocket(signal => this.open(hostname, { signal }))
  }

  async close(): Promise<void> {
    this.#closing ??= this.#close()
    await this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** @throws PosternError HOSTNAME_INVALID; SESSION_LOST after a close; what creating a plugin throws */
  #reach(application: string): Promise<Reached> {
    if (this.#closing) return Promise.reject(new PosternError('SESSION_LOST', CLOSED, { speaker: 'client' }))
    const { hostname, port = 443 } = readHostname(application)
    const key = `${hostname}:${port}`
    const known = this.#reached.get(key)
    if (known) return known
    const made = this.#make(hostname, port)
    this.#reached.set(key, made)
    made.catch(() => this.#reached.delete(key))
    return made
  }

  async #make(hostname: string, port: number): Promise<Reached> {
    const edge = this.#edge ?? new URL(`https://${hostname}:${port}`)
    const host = lendingTo({ hostname, edge, trust: this.#trust }, this.#lent)
    await using owned = new AsyncDisposableStack()
    const create = async <P extends Partial<AsyncDisposable>>(one: { create(lent: typeof host): Promise<P> }) => {
      const plugin = await one.create(host)
      owned.defer(() => plugin[Symbol.asyncDispose]?.())
      return plugin
    }
    const auth = []
    for (const one of this.#auth) auth.push(await create(one))
    const transports = []
    for (const one of this.#transports) transports.push({ name: one.name, transport: await create(one) })
    const endToEnd = this.#endToEnd(hostname)
    const options = { hostname, edge, auth, transports, trust: this.#trust, ...(endToEnd && { endToEnd }) }
    const client = owned.use(createApplicationClient(options))
    const parts = owned.move()
    return { client, [Symbol.asyncDispose]: () => parts.disposeAsync() }
  }

  async #close(): Promise<void> {
    const until = performance.now() + FINISHING
    while ([...this.#streams].some(isFinishing) && performance.now() < until) await sleep(LOOK)
    const end = async (reached: Promise<Reached>) => (await reached.catch(() => undefined))?.[Symbol.asyncDispose]()
    await Promise.all([...this.#reached.values()].map(end))
  }
}

/** Milliseconds that the last words have, and between looks at whether they are said. */
const FINISHING = 1_000
const LOOK = 10

function isFinishing({ writableEnded, writableLength }: Duplex): boolean {
  return writableEnded || writableLength > 0
}

const CLOSED = 'this client was closed'
const NEXT = 'Pass one, for example the default export of @postern/transport-tls/client.'

/** @throws PosternError HOSTNAME_INVALID, OPTION_INVALID */
function readEndToEnd(wanted: EndToEndWanted | false): (hostname: string) => EndToEnd | undefined {
  if (wanted === false) return () => undefined
  const { required = false, pins = {} } = wanted
  if (isStore(pins)) return () => ({ required, pins })
  const known = new Map(Object.entries(pins).map(([name, pin]) => [readHostname(name).hostname, readPin(name, pin)]))
  return hostname => {
    const pin = known.get(hostname)
    return { required, ...(pin !== undefined && { pin }) }
  }
}

function isStore(pins: NonNullable<EndToEndWanted['pins']>): pins is Pins {
  return typeof pins.get === 'function'
}

function readPin(hostname: string, text: string): string {
  const pin = text.toLowerCase()
  if (/^sha256:[0-9a-f]{64}$/.test(pin)) return pin
  throw new PosternError('OPTION_INVALID', `the pin of ${hostname} is not sha256: and 64 hexadecimal digits`)
}
