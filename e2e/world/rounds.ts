import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** Milliseconds without anything new until all that was sent goes on its way: longer than a program takes to say all it has to say. */
const THINKING = 250

/**
 * A network on which every byte takes the same time: what is sent during one step arrives together at the next. So a count of steps is a
 * count of how often somebody waited for what another had to say first, however slow the machine is. Two are a round trip; to connect takes
 * one, as TCP does.
 */
export class Rounds implements AsyncDisposable {
  /** What arrived at which step, for whoever wonders. */
  readonly log: string[] = []
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #target: () => number
  #sent: (() => void)[] = []
  #timer: NodeJS.Timeout | undefined
  #steps = 0
  #connections = 0

  /** @param target the port of the edge */
  constructor(target: () => number) {
    this.#target = target
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, socket => this.#take(socket))
  }

  /** @returns its port */
  async listen(): Promise<number> {
    await new Promise<void>(resolve => this.#server.listen(0, '127.0.0.1', resolve))
    return (this.#server.address() as AddressInfo).port
  }

  /** So far. */
  get roundTrips(): number {
    return this.#steps / 2
  }

  #send(what: string, arrive: () => void): void {
    this.#sent.push(() => {
      this.log.push(`${this.#steps}: ${what}`)
      arrive()
    })
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#step(), THINKING)
  }

  #step(): void {
    const sent = this.#sent
    this.#sent = []
    this.#steps += 1
    for (const arrive of sent) arrive()
  }

  /** Whoever connects is connected to this at once, so what it says waits until it would have been. */
  #take(near: Socket): void {
    const id = ++this.#connections
    this.#keep(near).pause()
    this.#send(`${id} connects`, () => {
      const far = connect({ port: this.#target(), host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
      this.#keep(far).once('connect', () => this.#send(`${id} is connected`, () => this.#carry(near, far, `${id} up`)))
      this.#carry(far, near, `${id} down`)
    })
  }

  #carry(from: Socket, to: Socket, way: string): void {
    from.on('data', bytes => this.#send(`${way}: ${bytes.length} bytes`, () => to.write(bytes)))
    from.on('end', () => this.#send(`${way}: end`, () => to.end()))
    from.on('close', () => this.#send(`${way}: closed`, () => to.destroy()))
    from.resume()
  }

  #keep(socket: Socket): Socket {
    this.#sockets.add(socket)
    return socket.on('error', () => {}).once('close', () => this.#sockets.delete(socket))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>(resolve => this.#server.close(() => resolve()))
    clearTimeout(this.#timer)
  }
}
