import type { Duplex } from 'node:stream'
import { type Call, type Code, PosternError } from '@postern/interface'
import type { StreamHeader, Tunnel } from '@postern/tunnel'

/** One live pipe of a daemon. */
export interface Connection {
  readonly id: string
  readonly tunnelId: string
  readonly remoteAddress: string
  /** Milliseconds since the epoch. */
  readonly since: number
  readonly tunnel: Tunnel
}

/** What one connection says when another may still take the stream: not a byte of it has been sent. */
const TRY_ANOTHER: readonly Code[] = ['SESSION_LOST', 'PEER_SILENT', 'DRAINING', 'LIMIT_EXCEEDED']
const MOST_TRIES = 4

/** The daemons' live connections, by tunnel. */
export class Routes {
  readonly #byTunnel = new Map<string, Connection[]>()
  #next = 0

  add(connection: Connection): void {
    const list = this.#byTunnel.get(connection.tunnelId)
    if (list === undefined) this.#byTunnel.set(connection.tunnelId, [connection])
    else list.push(connection)
  }

  remove({ tunnelId, id }: Connection): void {
    const left = (this.#byTunnel.get(tunnelId) ?? []).filter(one => one.id !== id)
    if (left.length > 0) this.#byTunnel.set(tunnelId, left)
    else this.#byTunnel.delete(tunnelId)
  }

  all(): readonly Connection[] {
    return [...this.#byTunnel.values()].flat()
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
    const healthy = this.#healthy(tunnelId)
    let last: unknown
    const first = this.#next++
    for (let tries = 0; tries < Math.min(healthy.length, MOST_TRIES); tries += 1) {
      const connection = healthy[(first + tries) % healthy.length]
      if (connection === undefined || connection.tunnel.draining) continue
      try {
        return await connection.tunnel.open(header, call)
      } catch (error) {
        if (call.signal.aborted || !(PosternError.is(error) && TRY_ANOTHER.includes(error.code))) throw error
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

  #healthy(tunnelId: string): readonly Connection[] {
    return (this.#byTunnel.get(tunnelId) ?? []).filter(({ tunnel }) => !tunnel.draining)
  }
}
