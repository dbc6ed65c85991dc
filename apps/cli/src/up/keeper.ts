import type { Duplex } from 'node:stream'
import { type ApplicationClient, isPassing, type SessionNews, untilAborted } from '@postern/client'
import { type Call, type LocalListener, type Logger, PosternError, type Protocol } from '@postern/interface'
import { backoff, keepConnected } from '@postern/tunnel'

/** What has become of a forward. */
export type Status =
  /** Signing in, and making its session. */
  | { readonly state: 'connecting' }
  | { readonly state: 'up'; readonly transport: string; readonly mode: 'end-to-end' | 'hop' }
  /** Something is in the way that may go by itself; it is tried again until it does. */
  | { readonly state: 'retrying'; readonly error: PosternError }
  /** Somebody has to sign in: the next connection here asks. */
  | { readonly state: 'sign-in'; readonly error: PosternError }
  /** Trying again would get the same answer. It does not listen any more. */
  | { readonly state: 'failed'; readonly error: PosternError }
  /** It takes no more connections, and those there are go on. */
  | { readonly state: 'ending' }
  | { readonly state: 'ended' }

/** What a forward is kept up by. */
export interface KeeperParts {
  readonly client: Pick<ApplicationClient, 'app' | 'connect' | 'stay' | 'open'>
  readonly protocol: Pick<Protocol, 'connect'>
  /** @param enough aborted when no more connections are to be taken */
  listen(call: Call, enough: AbortSignal): Promise<LocalListener & AsyncDisposable>
  readonly stdio: Duplex
  readonly log: Logger
  /** Told after each change of {@link Keeper.status}, {@link Keeper.address} or {@link Keeper.connections}. */
  readonly changed: () => void
}

/** Milliseconds: the longest wait for a port that is taken, or a protocol that fails. */
const LONGEST_WAIT = 10_000
/** Milliseconds: the longest wait after access ended. What ended it is seldom over in less. */
const LONGEST_PAUSE = 30_000

/** How a protocol says that it is done. */
const DONE = Symbol('done')

/** News of a session that is not there. */
type Bad = Exclude<SessionNews, { readonly state: 'connected' }>

/** Keeps one forward up: its listener, its session, and what runs between them. */
export class Keeper {
  #status: Status = { state: 'connecting' }
  #address: string
  #connections = 0
  /** When a session came up last, and how. */
  #upSince = 0
  #up: Status | undefined
  #rested = Promise.withResolvers<Bad>()
  /** Resolved when nothing listens and nothing is served. Undefined where nothing is. */
  #serving: Promise<unknown> | undefined
  readonly #enough = new AbortController()
  readonly #idle = new AbortController()
  readonly #parts: KeeperParts

  constructor(address: string, parts: KeeperParts) {
    this.#address = address
    this.#parts = parts
  }

  get status(): Status {
    return this.#status
  }

  /** Where it listens; until it does, where it shall. */
  get address(): string {
    return this.#address
  }

  /** Local connections with a stream of their own. */
  get connections(): number {
    return this.#connections
  }

  /** Until it failed, its protocol is done, or the call is aborted. Never throws: {@link status} says how it went. */
  async run(outer: Call): Promise<void> {
    const call = { log: this.#parts.log, signal: AbortSignal.any([outer.signal, this.#idle.signal]) }
    const onRetry = ({ error }: { readonly error: unknown }) => this.#retry(PosternError.from(error))
    const begin = async (_failures: number, inner: Call) => this.#begin({ ...inner, log: call.log })
    try {
      await keepConnected(begin, { capMs: LONGEST_WAIT, fatal: isFinal, onRetry }, call)
    } catch (error) {
      await this.#serving
      if (call.signal.aborted || error === DONE) this.#set({ state: 'ended' })
      else this.#set({ state: 'failed', error: PosternError.from(error) })
    }
  }

  /** Takes no more connections. It has ended when the last one there is has. */
  finish(): void {
    this.#enough.abort()
    this.#set({ state: 'ending' })
    if (!this.#serving) this.#idle.abort()
  }

  /** What the client tells of its session. */
  hear(news: SessionNews): void {
    if (news.state === 'connected') {
      this.#upSince = performance.now()
      this.#up = { state: 'up', transport: news.transport, mode: news.mode }
      this.#set(this.#up)
    } else if (news.error.code === 'LOGIN_REQUIRED') {
      this.#set({ state: 'sign-in', error: news.error })
    } else {
      // A fresh answer that is final is told by who ends the forward for it; what was lost was good once.
      if (news.state === 'lost' || isPassing(news.error)) this.#retry(news.error)
      if (!news.again) this.#rested.resolve(news)
    }
  }

  /** Listens, then serves for as long as that goes well. */
  async #begin(call: Call): Promise<{ readonly closed: Promise<unknown> }> {
    const listening = this.#parts.listen(call, this.#enough.signal)
    this.#serving = listening.catch(() => {})
    try {
      const listener = await listening
      this.#address = listener.address
      if (this.#status.state === 'retrying') this.#set({ state: 'connecting' })
      else this.#parts.changed()
      const closed = this.#serve(listener, call)
      this.#serving = closed.finally(() => this.#rest())
      return { closed: this.#serving }
    } catch (error) {
      this.#rest()
      throw error
    }
  }

  #rest(): void {
    this.#serving = undefined
    if (this.#enough.signal.aborted) this.#idle.abort()
  }

  /** @returns why it is over */
  async #serve(listener: LocalListener & AsyncDisposable, outer: Call): Promise<unknown> {
    const over = new AbortController()
    const call = { ...outer, signal: AbortSignal.any([outer.signal, over.signal]) }
    const { client, protocol, stdio } = this.#parts
    const local = {
      get app() {
        return client.app
      },
      open: (inner: Call) => this.#open(inner),
      stdio,
      listener,
    }
    const work = [protocol.connect(local, call).then(() => DONE), this.#keepSession(call)]
    try {
      return await Promise.race(work)
    } catch (error) {
      return error
    } finally {
      over.abort(new PosternError('SESSION_LOST', 'this forward has ended', { speaker: 'client' }))
      await Promise.allSettled(work)
      await listener[Symbol.asyncDispose]()
    }
  }

  async #open(call: Call): Promise<Duplex> {
    const stream = await this.#parts.client.open(call)
    const count = (by: number) => {
      this.#connections += by
      this.#parts.changed()
    }
    count(1)
    stream.once('close', () => count(-1))
    return stream
  }

  /** Has a session up whenever one can be had. @throws what is final; `call.signal.reason` */
  async #keepSession(call: Call): Promise<never> {
    const { client } = this.#parts
    // The one time at which a person is asked without having connected here: they are there, since they started this.
    const first = await client.connect(call).then(() => undefined, PosternError.from)
    call.signal.throwIfAborted()
    if (first && isFinal(first)) throw first
    if (!first && this.#up) this.#set(this.#up) // it is no news where the session outlived what it was for
    for (let endings = 0; ; ) {
      const news = await this.#untilRest(call)
      if (news.state === 'failed' && isFinal(news.error)) throw news.error
      // Access ended: perhaps a token’s time was over, perhaps it was taken away. Asking once more, after a while, tells.
      endings = performance.now() - this.#upSince > LONGEST_PAUSE ? 1 : endings + 1
      await pause(backoff(endings, 1_000, LONGEST_PAUSE, Math.random), call.signal)
    }
  }

  /** Has the client stay connected until it does not see how. */
  async #untilRest(call: Call): Promise<Bad> {
    const round = new AbortController()
    this.#rested = Promise.withResolvers()
    const staying = this.#parts.client.stay({ ...call, signal: AbortSignal.any([call.signal, round.signal]) })
    try {
      return await Promise.race([this.#rested.promise, staying])
    } finally {
      round.abort()
      await staying.catch(() => {})
    }
  }

  #retry(error: PosternError): void {
    this.#set({ state: 'retrying', error })
  }

  #set(status: Status): void {
    const before = this.#status
    // What is ending is told of no more: only that it has.
    if (before.state === 'failed' || before.state === 'ended') return
    if (before.state === 'ending' && status.state !== 'ended') return
    if (reasonOf(before) === reasonOf(status)) return
    this.#status = status
    this.#parts.changed()
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  try {
    await untilAborted(promise, signal)
  } finally {
    clearTimeout(timer)
  }
}

/** Two failures for one reason are one state. */
function reasonOf(status: Status): string {
  if ('error' in status) return `${status.state} ${status.error.code} ${status.error.message}`
  return status.state === 'up' ? `up ${status.transport} ${status.mode}` : status.state
}

/** Whether trying again would get the same answer. */
function isFinal(thrown: unknown): boolean {
  if (thrown === DONE) return true
  const error = PosternError.from(thrown)
  if (error.code === 'LISTEN_FAILED') return (error.cause as NodeJS.ErrnoException | undefined)?.code === 'EACCES'
  return error.code !== 'LOGIN_REQUIRED' && !isPassing(error)
}
