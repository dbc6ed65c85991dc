import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { FailureCounter } from '../authorize/attempts.ts'
import { countedAddress } from './address.ts'

/**
 * Bytes of a client until its handshake is over, past which it was a heavy one: hello and three certificates with large keys are
 * fewer. 46 KB of certificates cost 200 ms of this thread, inside OpenSSL, before anybody may look at them; Node bounds neither
 * their number nor their size.
 */
const HEAVY = 24_576
/** Heavy handshakes of one address in a minute; then it is not asked for certificates any more. */
const MOST = 5

/** Who makes handshakes cost what they need not. */
export class HeavyHandshakes {
  readonly #counts = new FailureCounter()
  /** TCP connections whose handshake is under way, by where they come from: TLS counts only what was in it. */
  readonly #connections = new Map<string, Socket>()

  /** Whether an address has had its share. */
  isOver(address: string | undefined): boolean {
    return this.#counts.isOver(countedAddress(address ?? ''), MOST)
  }

  /** Looks at a TCP connection until it is secured, or gone. */
  watch(socket: Socket): void {
    const { remoteAddress = '' } = socket
    const place = placeOf(socket)
    this.#connections.set(place, socket)
    socket.once('close', () => {
      if (this.#connections.get(place) === socket) this.#end(place, socket, remoteAddress)
    })
  }

  /** The handshake is over. */
  secured(secure: TLSSocket): void {
    const place = placeOf(secure)
    const socket = this.#connections.get(place)
    if (socket !== undefined) this.#end(place, socket, socket.remoteAddress ?? '')
  }

  #end(place: string, { bytesRead }: Socket, remoteAddress: string): void {
    this.#connections.delete(place)
    if (bytesRead > HEAVY) this.#counts.count(countedAddress(remoteAddress))
  }
}

function placeOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`
}
