import { FIRST_MARK } from './flight.ts'

interface Pending {
  readonly started: number
  readonly signal: AbortSignal
  readonly onAbort: () => void
  readonly resolve: (milliseconds: number) => void
  readonly reject: (reason: unknown) => void
}

/** Our pings that have no answer yet. An answer nobody waits for is ignored: its ping may have been aborted. */
export class Pings {
  readonly #pending: Map<number, Pending> = new Map()
  #next = 0
  #least = Number.POSITIVE_INFINITY

  /** Milliseconds of the quickest answer so far; infinite before the first. */
  get least(): number {
    return this.#least
  }

  /** Waits for the answer to the ping that `send` sends. */
  start(signal: AbortSignal, send: (id: number) => void): Promise<number> {
    signal.throwIfAborted()
    const id = this.#next
    this.#next = (id + 1) % FIRST_MARK
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    const onAbort = (): void => this.#take(id)?.reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    this.#pending.set(id, { started: performance.now(), signal, onAbort, resolve, reject })
    send(id)
    return promise
  }

  /** Looks how long the path is, and waits for nothing. */
  sound(send: (id: number) => void): void {
    this.start(new AbortController().signal, send).catch(() => {})
  }

  answer(id: number): void {
    const ping = this.#take(id)
    if (ping === undefined) return
    const took = performance.now() - ping.started
    this.#least = Math.min(this.#least, took)
    ping.resolve(took)
  }

  /** The session is over. */
  fail(error: Error): void {
    for (const id of [...this.#pending.keys()]) this.#take(id)?.reject(error)
  }

  #take(id: number): Pending | undefined {
    const ping = this.#pending.get(id)
    this.#pending.delete(id)
    ping?.signal.removeEventListener('abort', ping.onAbort)
    return ping
  }
}
