import type { Duplex } from 'node:stream'
import { type Call, type Code, type Logger, PosternError } from '@postern/interface'
import type { StreamHeader, Tunnel } from '@postern/tunnel'
import type { ConnectorAdmission } from '../authorize/authorize.ts'

/** One live pipe of a daemon. */
export interface Connection {
  readonly id: string
  readonly tunnelId: string
  /** The daemon's process, as it says itself; of one that says nothing, the connection's own id. */
  readonly connectorId: string
  /** Which of the process's connections, as it says itself. */
  readonly index?: number
  readonly version?: string
  readonly name?: string
  /** It says that it dials for clients. */
  readonly joins?: true
  /** `hashId` of the token it came with. */
  readonly tokenId?: string
  /** Of the certificate it proved; its {@link connectorId} is that certificate's. */
  readonly fingerprint?: string
  readonly remoteAddress: string
  /** Milliseconds since the epoch. */
  readonly since: number
  readonly tunnel: Tunnel
  /** What let it in. */
  readonly admission: ConnectorAdmission
}

/** What one connection says when another may still take the stream: not a byte of it has been sent. */
const TRY_ANOTHER: readonly Code[] = ['SESSION_LOST', 'PEER_SILENT', 'DRAINING', 'LIMIT_EXCEEDED']
const MOST_TRIES = 4

/** Milliseconds a connection has to answer when its daemon has come again. */
const ANSWER_TIME = 5000
/** Milliseconds that an evicted connector is not taken back, and how many are remembered. */
const EVICTED_TIME = 600_000
const MOST_EVICTED = 1000

/** The daemons' live connections, by tunnel. */
export class Routes {
  readonly #byTunnel = new Map<string, Connection[]>()
  /** Connections whose daemon has come again, while they are asked whether they are still there. */
  readonly #doubted = new Set<Connection>()
  /** Until when, by tunnel and connector. */
  readonly #evicted = new Map<string, number>()
  readonly #connectionOf = new WeakMap<Duplex, Connection>()
  readonly #log: Logger
  #next = 0

  constructor(log: Logger) {
    this.#log = log
  }

  /**
   * Takes new streams to it at once. An older connection that says it is the same one of the same connector, left over from a
   * network that failed, comes last from now on and is cut unless it answers; one that does answer stays.
   */
  add(connection: Connection): void {
    const { tunnelId, connectorId, index } = connection
    const list = this.#byTunnel.get(tunnelId) ?? []
    this.#byTunnel.set(tunnelId, [...list, connection])
    for (const older of list) {
      if (older.connectorId === connectorId && older.index === index) void this.#ask(older)
    }
  }

  /**
   * How many other connectors the tunnel has, and whether this one is there already, from this address: its id is its own word,
   * and whoever has the tunnel's token may say the same.
   */
  known(
    tunnelId: string,
    connectorId: string,
    remoteAddress: string,
  ): { readonly here: boolean; readonly others: number } {
    const all = this.of(tunnelId)
    const here = all.some(one => one.connectorId === connectorId && one.remoteAddress === remoteAddress)
    const others = new Set(all.map(one => one.connectorId))
    others.delete(connectorId)
    return { here, others: others.size }
  }

  /**
   * Puts a connector out: its connections are cut, and it is not taken back for ten minutes. Who has the tunnel's token can
   * still come as somebody else: against that, replace the token.
   *
   * @returns connections cut
   */
  evict(tunnelId: string, connectorId: string): number {
    const cut = (this.#byTunnel.get(tunnelId) ?? []).filter(one => one.connectorId === connectorId)
    const key = `${tunnelId} ${connectorId}`
    this.#evicted.delete(key)
    this.#evicted.set(key, Date.now() + EVICTED_TIME)
    if (this.#evicted.size > MOST_EVICTED) this.#evicted.delete(this.#evicted.keys().next().value ?? '')
    for (const connection of cut) {
      this.remove(connection)
      connection.tunnel.cut(evicted())
    }
    return cut.length
  }

  /** @throws PosternError CONNECTOR_EVICTED */
  checkEvicted(tunnelId: string, connectorId: string): void {
    const until = this.#evicted.get(`${tunnelId} ${connectorId}`)
    if (until !== undefined && until > Date.now()) throw evicted()
  }

  remove({ tunnelId, id }: Connection): void {
    const left = (this.#byTunnel.get(tunnelId) ?? []).filter(one => one.id !== id)
    if (left.length > 0) this.#byTunnel.set(tunnelId, left)
    else this.#byTunnel.delete(tunnelId)
  }

  async #ask(connection: Connection): Promise<void> {
    const { tunnelId, connectorId, tunnel, id } = connection
    this.#doubted.add(connection)
    try {
      await tunnel.ping({ log: this.#log, signal: AbortSignal.timeout(ANSWER_TIME) })
      // Two that answer: a machine that was copied while its daemon ran. Both serve, and both are shown.
      this.#log.warn('two connections of one connector', { tunnel: tunnelId, connector: connectorId, connection: id })
    } catch {
      this.remove(connection)
      tunnel.cut(new PosternError('PEER_SILENT', 'a newer connection took its place', { speaker: 'edge' }))
    } finally {
      this.#doubted.delete(connection)
    }
  }

  all(): readonly Connection[] {
    return [...this.#byTunnel.values()].flat()
  }

  of(tunnelId: string): readonly Connection[] {
    return this.#byTunnel.get(tunnelId) ?? []
  }

  count(tunnelId: string): number {
    return this.#byTunnel.get(tunnelId)?.length ?? 0
  }

  isOnline(tunnelId: string): boolean {
    return this.#healthy(tunnelId).length > 0
  }

  /**
   * One stream to a tunnel's daemon, after the service behind it answered. Connections take turns; one that dies before it
   * answered is replaced by the next.
   *
   * @throws PosternError TUNNEL_OFFLINE; LIMIT_EXCEEDED; TIMED_OUT after 30 s; the daemon's or the service's refusal; `call.signal.reason`
   */
  async open(tunnelId: string, header: StreamHeader, call: Call): Promise<Duplex> {
    let last: unknown
    for (const connection of this.inTurn(tunnelId).slice(0, MOST_TRIES)) {
      if (connection.tunnel.draining) continue
      try {
        const stream = await connection.tunnel.open(header, call)
        this.#connectionOf.set(stream, connection)
        return stream
      } catch (error) {
        if (call.signal.aborted || !PosternError.is(error)) throw error
        if (!TRY_ANOTHER.includes(error.code) && !this.#isGone(connection)) throw error
        call.log.warn('a daemon’s connection failed to open a stream', { connection: connection.id, code: error.code })
        last = error
      }
    }
    // There are daemons: who hears of none would look in the wrong place.
    if (PosternError.is(last) && last.code === 'LIMIT_EXCEEDED') throw last
    throw new PosternError('TUNNEL_OFFLINE', 'no daemon of the application’s tunnel is connected', {
      speaker: 'edge',
      cause: last,
    })
  }

  /** Whether nothing new should begin on this stream: its daemon is leaving, or is gone. */
  isLeaving(stream: Duplex): boolean {
    const connection = this.#connectionOf.get(stream)
    return connection === undefined || connection.tunnel.draining || this.#isGone(connection)
  }

  /** The healthy ones, beginning with whoever's turn it is; those that may be dead come last. */
  inTurn(tunnelId: string): readonly Connection[] {
    const healthy = this.#healthy(tunnelId)
    const first = this.#next++ % Math.max(1, healthy.length)
    const turned = [...healthy.slice(first), ...healthy.slice(0, first)]
    return turned.toSorted((one, other) => Number(this.#doubted.has(one)) - Number(this.#doubted.has(other)))
  }

  #healthy(tunnelId: string): readonly Connection[] {
    return (this.#byTunnel.get(tunnelId) ?? []).filter(({ tunnel }) => !tunnel.draining)
  }

  /** Cut by us meanwhile: that is no answer of the daemon's. */
  #isGone({ tunnelId, id }: Connection): boolean {
    return !this.#byTunnel.get(tunnelId)?.some(one => one.id === id)
  }
}

function evicted(): PosternError {
  return new PosternError('CONNECTOR_EVICTED', 'an administrator put this connector out', { speaker: 'edge' })
}
