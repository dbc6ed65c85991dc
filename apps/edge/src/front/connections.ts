import type { Socket } from 'node:net'
import type { Logger } from '@postern/interface'
import { countedAddress } from './address.ts'
import type { FrontLimits } from './limits.ts'

/** Milliseconds between two words about who was turned away. */
const SAY_INTERVAL = 1000

/** The TCP connections of the public port: how many there may be, in all and of one address. */
export class Connections {
  readonly #limits: FrontLimits
  readonly #log: Logger
  readonly #sockets = new Set<Socket>()
  readonly #perAddress = new Map<string, number>()
  /** Connections refused since that was last said, and when. */
  #refused = 0
  #saidRefused = 0

  constructor(limits: FrontLimits, log: Logger) {
    this.#limits = limits
    this.#log = log
  }

  get size(): number {
    return this.#sockets.size
  }

  /** @returns whether it may stay */
  take(socket: Socket): boolean {
    socket.on('error', ignore)
    const address = countedAddress(socket.remoteAddress ?? '')
    const count = this.#perAddress.get(address) ?? 0
    if (this.#sockets.size >= this.#limits.connections || count >= this.#limits.connectionsPerAddress) {
      socket.destroy()
      this.#turnedAway(address)
      return false
    }
    this.#sockets.add(socket)
    this.#perAddress.set(address, count + 1)
    socket.once('close', () => {
      this.#sockets.delete(socket)
      const left = (this.#perAddress.get(address) ?? 1) - 1
      if (left > 0) this.#perAddress.set(address, left)
      else this.#perAddress.delete(address)
    })
    return true
  }

  /** Ends every one; resolves when the last is gone. */
  async close(): Promise<void> {
    const gone = [...this.#sockets].map(socket => new Promise<void>(resolve => socket.once('close', () => resolve())))
    for (const socket of this.#sockets) socket.destroy()
    await Promise.all(gone)
  }

  /** Said once a second: who knocks without end fills no log. */
  #turnedAway(address: string): void {
    this.#refused += 1
    const now = Date.now()
    if (now - this.#saidRefused < SAY_INTERVAL) return
    const fields = { refused: this.#refused, address, open: this.#sockets.size }
    this.#log.warn('connections were refused: too many are open', fields)
    this.#refused = 0
    this.#saidRefused = now
  }
}

function ignore(): void {}
