import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'

/** A service on loopback, whose visitors say first, in four bytes, which connection this is. It may stop to listen for a while. */
export class ChaosOrigin implements AsyncDisposable {
  readonly port: number
  /** What becomes of who said it. */
  serve: (socket: Socket, id: number) => void = socket => void socket.destroy()
  readonly #open = new Set<Socket>()
  #server: Server

  private constructor(server: Server) {
    this.#server = server
    this.port = (server.address() as AddressInfo).port
  }

  static async open(): Promise<ChaosOrigin> {
    const take = (socket: Socket): void => origin.#take(socket)
    const origin: ChaosOrigin = new ChaosOrigin(await listen(0, take))
    return origin
  }

  get open(): number {
    return this.#open.size
  }

  /** Who comes now is refused; who is there stays. */
  refuse(): void {
    this.#server.close()
  }

  async listen(): Promise<void> {
    this.#server = await listen(this.port, socket => this.#take(socket))
  }

  #take(socket: Socket): void {
    this.#open.add(socket)
    socket.on('error', () => {}).on('close', () => this.#open.delete(socket))
    const read = (): void => {
      const id = socket.read(4) as Buffer | null
      if (id === null) return
      socket.off('readable', read).off('end', over)
      if (id.length < 4) over()
      else this.serve(socket, id.readUInt32BE(0))
    }
    // An end before that tells nobody anything.
    const over = (): void => void socket.destroy()
    socket.on('readable', read).on('end', over)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#open) socket.destroy()
    if (this.#server.listening) await new Promise(resolve => this.#server.close(resolve))
  }
}

async function listen(port: number, take: (socket: Socket) => void): Promise<Server> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, take)
  await new Promise<void>((resolve, reject) => server.on('error', reject).listen(port, '127.0.0.1', resolve))
  return server
}
