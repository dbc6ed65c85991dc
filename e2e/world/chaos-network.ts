import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Random } from '@postern/compliance/random'
import { turns } from '@postern/compliance/schedules'
import { cut } from '@postern/tunnel'

/** How the network carries bytes while it carries all of them. */
export interface Weather {
  /** The first bytes of each direction of a connection come one at a time. */
  readonly single: number
  /** The longest piece of those after them, in bytes, and how many come in such pieces. The rest comes as it is. */
  readonly piece: number
  readonly pieces: number
  /** How likely a chunk waits, and at most how many milliseconds. */
  readonly hold: number
  readonly holdMs: number
}

export const CLEAR: Weather = { single: 0, piece: 0, pieces: 0, hold: 0, holdMs: 0 }

/**
 * `reset`: RST to both ends. `close`: FIN to both ends, and nothing more gets through; so TCP seems to end well. `half`: that to the
 * dialling end alone, whose bytes still get through. `silence`: nothing gets through any more, and nobody is told.
 */
export type Deed = 'reset' | 'close' | 'half' | 'silence'

/** What befalls connections once so many bytes went through the network. */
export interface Mishap {
  readonly deed: Deed
  readonly afterBytes: number
  /** All connections, or the one alone whose bytes these were. */
  readonly all: boolean
}

/** A TCP network on loopback to one port, which may be any kind of bad. */
export class Network implements AsyncDisposable {
  readonly port: number
  readonly #links = new Set<Link>()
  readonly #close: () => Promise<void>
  #weather = CLEAR
  #random: Random | undefined
  #mishap: Mishap | undefined
  #bytes = 0

  private constructor(port: number, close: () => Promise<void>) {
    this.port = port
    this.#close = close
  }

  static async open(to: number): Promise<Network> {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, near => network.#take(near, to))
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const close = () => new Promise<void>(resolve => server.close(() => resolve()))
    const network: Network = new Network((server.address() as AddressInfo).port, close)
    return network
  }

  get connections(): number {
    return this.#links.size
  }

  /** From now on, also for the connections that there are. */
  begin(random: Random, weather: Weather, mishap?: Mishap): void {
    this.#random = random
    this.#weather = weather
    this.#mishap = mishap
    this.#bytes = 0
  }

  /** What is broken stays so; new connections come through as if nothing had been. @returns whether the mishap happened */
  clear(): boolean {
    const happened = this.#mishap !== undefined && this.#bytes >= this.#mishap.afterBytes
    this.#mishap = undefined
    this.#weather = CLEAR
    return happened
  }

  #take(near: Socket, to: number): void {
    const far = connect({ port: to, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    const link = new Link(near, far, () => this.#links.delete(link))
    this.#links.add(link)
    for (const [from, into] of [
      [near, far],
      [far, near],
    ] as const)
      this.#carry(link, from, into)
  }

  #carry(link: Link, from: Socket, into: Socket): void {
    let carried = 0
    let tail = Promise.resolve()
    from.on('data', (chunk: Buffer) => {
      this.#count(link, chunk.length)
      if (!link.carries(from)) return
      from.pause()
      tail = this.#pass(link, from, into, chunk, carried).then(() => void from.resume())
      carried += chunk.length
    })
    from.on('end', () => void tail.then(() => link.carries(from) && into.end()))
  }

  async #pass(link: Link, from: Socket, into: Socket, chunk: Buffer, before: number): Promise<void> {
    const { single, piece, pieces, hold, holdMs } = this.#weather
    const random = this.#random
    if (random?.chance(hold)) await new Promise(resolve => setTimeout(resolve, random.between(1, holdMs)))
    for (let at = 0; at < chunk.length; ) {
      if (!link.carries(from) || into.destroyed) return
      const place = before + at
      const longest = place < single ? 1 : place < single + pieces ? piece : chunk.length
      const next = Math.min(
        chunk.length,
        at + (longest === chunk.length ? longest : (random?.between(1, longest) ?? 1)),
      )
      const isFull = !into.write(chunk.subarray(at, next))
      at = next
      if (isFull) await drained(into)
      else if (at < chunk.length) await turns(1)
    }
  }

  #count(link: Link, bytes: number): void {
    const before = this.#bytes
    this.#bytes += bytes
    const { deed, afterBytes, all } = this.#mishap ?? {}
    if (deed === undefined || afterBytes === undefined || before >= afterBytes || this.#bytes < afterBytes) return
    for (const one of all ? [...this.#links] : [link]) one.break(deed)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const link of this.#links) link.break('reset')
    await this.#close()
  }
}

/** One connection, of two sockets. */
class Link {
  readonly #near: Socket
  readonly #far: Socket
  #broken: Deed | undefined

  constructor(near: Socket, far: Socket, over: () => void) {
    this.#near = near
    this.#far = far
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on('error', () => {})
      one.on('end', () => this.#broken === 'silence' && this.#gone())
      one.on('close', hadError => {
        if (near.closed && far.closed) over()
        const isWhole = !hadError && one.readableEnded && one.writableFinished
        if (this.#broken === 'silence') this.#gone()
        else if (!isWhole && (this.#broken === undefined || this.#broken === 'half')) cut(other)
      })
    }
  }

  /** Whether what one of them says still gets through. */
  carries(from: Socket): boolean {
    return this.#broken === undefined || (this.#broken === 'half' && from === this.#near)
  }

  /** Silence goes on until both ends have given up: who did is told nothing. */
  #gone(): void {
    const both = [this.#near, this.#far]
    if (both.every(socket => socket.readableEnded || socket.closed)) for (const socket of both) socket.destroy()
  }

  break(deed: Deed): void {
    // What is silent stays silent, but for the end of everything.
    if (this.#broken !== undefined && deed !== 'reset') return
    this.#broken = deed
    if (deed === 'reset') for (const socket of [this.#near, this.#far]) cut(socket)
    if (deed === 'close') this.#far.end()
    if (deed === 'close' || deed === 'half') this.#near.end()
    // Whatever is still said is heard by nobody.
    for (const socket of [this.#near, this.#far]) if (!socket.destroyed) socket.resume()
  }
}

function drained(socket: Socket): Promise<void> {
  return new Promise(resolve => {
    const done = () => {
      socket.off('drain', done).off('close', done)
      resolve()
    }
    socket.on('drain', done).on('close', done)
    if (socket.closed) done()
  })
}
