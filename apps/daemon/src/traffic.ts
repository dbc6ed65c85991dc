import type { Socket } from 'node:net'

type Direction = 'sent' | 'received'
type Totals = Record<Direction, number>

/**
 * Bytes to and from services, by hostname. Sockets count their own bytes, so nothing is done for each of them: they are read
 * when somebody asks, and once more when the socket closes.
 */
export class Traffic {
  readonly #open = new Map<Socket, { readonly hostname: string; readonly taken: Totals }>()
  readonly #due = new Map<string, Totals>()

  watch(hostname: string, socket: Socket): void {
    this.#open.set(socket, { hostname, taken: { sent: 0, received: 0 } })
    socket.once('close', () => {
      this.#read(socket)
      this.#open.delete(socket)
    })
  }

  /** What was counted since this was asked before, by hostname. */
  take(direction: Direction): readonly (readonly [hostname: string, bytes: number])[] {
    for (const socket of this.#open.keys()) this.#read(socket)
    return [...this.#due].map(([hostname, totals]) => {
      const bytes = totals[direction]
      totals[direction] = 0
      return [hostname, bytes]
    })
  }

  #read(socket: Socket): void {
    const one = this.#open.get(socket)
    if (!one) return
    const due = this.#due.get(one.hostname) ?? { sent: 0, received: 0 }
    this.#due.set(one.hostname, due)
    const now: Totals = { sent: socket.bytesWritten, received: socket.bytesRead }
    for (const direction of ['sent', 'received'] as const) {
      due[direction] += now[direction] - one.taken[direction]
      one.taken[direction] = now[direction]
    }
  }
}
