import type { SessionNews } from '@postern/client'
import { type Call, type LocalListener, type Logger, PosternError } from '@postern/interface'
import { jsonLineOf, type Program } from '@postern/program'
import { about } from './about.ts'
import { listenLocally } from './listener.ts'
import { type Forward, showAddress } from './local-address.ts'
import { named } from './named.ts'
import type { Run } from './run.ts'
import { openStdio } from './stdio.ts'
import { makeWay, type Way } from './way.ts'

/** A forward at work. */
interface Running {
  readonly hostname: string
  readonly way: Way
  readonly listener: LocalListener & AsyncDisposable
  readonly told: Reporter
  readonly log: Logger
}

/**
 * Every forward listens, signs in and makes its session before any of them is told to be there. What cannot start ends them
 * all, with its own error: a typing mistake and a tunnel that is down are both better known now than at the first connection.
 * Afterwards each is on its own, until the user stops them.
 */
export async function forward(forwards: readonly Forward[], protocol: string, run: Run, call: Call): Promise<void> {
  const { program } = run
  const running: Running[] = []
  const parts: AsyncDisposable[] = []
  await using _ended = { [Symbol.asyncDispose]: async () => void (await Promise.all(parts.map(end))) }
  const warnings = new Set<string>()
  for (const one of forwards) {
    const log = forwards.length > 1 ? named(call.log, one.hostname) : call.log
    const told = new Reporter(one, program, log)
    const owned = new AsyncDisposableStack()
    parts.push(owned)
    const way = owned.use(await makeWay(one.hostname, protocol, run, news => told.session(news), call))
    for (const warning of way.warnings) warnings.add(warning)
    const listener = owned.use(await listenLocally(one.local, { log }))
    told.address = listener.address
    running.push({ hostname: one.hostname, way, listener, told, log })
  }
  for (const warning of warnings) call.log.warn(warning)
  await connectAll(running, call)
  announce(running, program, call.log)
  const attended = running.length === 1 && !program.json && process.stdout.isTTY === true
  await serveAll(running, program, attended, call)
}

function announce(running: readonly Running[], program: Program, log: Logger): void {
  for (const { told } of running) told.listening()
  if (program.json) return
  const [stops, last] = running.length > 1 ? ['', 'Ctrl-C ends them all'] : ['; Ctrl-C ends it', undefined]
  for (const { hostname, listener, told } of running)
    log.info(`${hostname} is at ${listener.address}${stops}`, { ...told.way })
  if (last !== undefined) log.info(last)
}

async function connectAll(running: readonly Running[], call: Call): Promise<void> {
  const results = await Promise.allSettled(running.map(({ way, log }) => way.client.connect({ ...call, log })))
  call.signal.throwIfAborted()
  const errors = results.flatMap((result, at) =>
    result.status === 'rejected' ? [about(running[at]?.hostname ?? '', result.reason)] : [],
  )
  const [first, ...others] = errors
  for (const error of others) {
    const { message, code, next, requestId } = PosternError.from(error)
    call.log.error(message, { code, requestId, next })
  }
  if (errors.length > 0) throw first
}

/** Serves until the user stops it, or every protocol is done. What a protocol fails with ends them all. */
async function serveAll(
  running: readonly Running[],
  { stop }: Program,
  attended: boolean,
  { signal }: Call,
): Promise<void> {
  const ended = new AbortController()
  const stdio = openStdio() // no forward uses it; the contract has it
  const serve = async ({ way, listener, log }: Running): Promise<void> => {
    const call: Call = { log, signal: AbortSignal.any([signal, ended.signal]) }
    const done = new AbortController()
    const staying = way.client.stay({ log, signal: AbortSignal.any([call.signal, done.signal]) })
    staying.catch(() => {}) // its end is ours, or the client's
    const local = { app: way.client.app, open: (inner: Call) => way.client.open(inner), stdio, listener, attended }
    try {
      await way.protocol.connect(local, call)
    } catch (error) {
      ended.abort(error)
    } finally {
      done.abort()
      await end(listener) // who connects from now on would wait for nobody
    }
  }
  await Promise.all(running.map(serve))
  stdio.destroy()
  const { aborted, reason } = ended.signal
  if (aborted && reason !== stop.gently.reason) throw reason // Ctrl-C is how one says that a forward is done with
}

/** What becomes of one forward, for the person or the program that started it. */
class Reporter {
  address: string
  readonly #hostname: string
  readonly #program: Program
  readonly #log: Logger
  #up = false
  /** How the last session came to be. */
  way: { readonly transport?: string; readonly mode?: string } = {}
  /** There is none, and this was told of it. */
  #down: 'lost' | 'trying' | 'resting' | undefined

  constructor({ hostname, local }: Forward, program: Program, log: Logger) {
    this.address = showAddress(local)
    this.#hostname = hostname
    this.#program = program
    this.#log = log
  }

  /** It is signed in, and takes connections. */
  listening(): void {
    this.#up = true
    this.#event('listening', this.way)
  }

  session(news: SessionNews): void {
    if (news.state === 'connected') this.#connected(news)
    else this.#wanting(news)
  }

  #wanting(news: SessionNews & { readonly state: 'lost' | 'failed' }): void {
    const { code, message: reason, speaker, requestId, next } = news.error
    this.#event(news.state, { code, message: reason, speaker, requestId, next })
    if (news.state === 'failed') {
      this.#failed(news.again, { code, reason, next })
      return
    }
    this.#down = 'lost'
    if (news.again) this.#log.warn('the connection to the edge was lost; making another', { code, reason })
    else if (code === 'ACCESS_ENDED')
      this.#log.warn('access ended; the next connection here signs in anew', { reason, next })
    else this.#log.warn('the connection to the edge was lost; the next connection here makes another', { code, reason })
  }

  #connected({ transport, mode }: SessionNews & { readonly state: 'connected' }): void {
    this.way = { transport, mode }
    const wasLost = this.#down !== undefined
    this.#down = undefined
    if (!this.#up) return // told by listening
    this.#event('connected', this.way)
    if (wasLost) this.#log.info('connected to the edge again', this.way)
  }

  /** Once for as long as it lasts. Whoever connects meanwhile is told why that is refused. */
  #failed(again: boolean, facts: object): void {
    const now = again ? 'trying' : 'resting'
    if (!this.#up || this.#down === undefined || this.#down === now) return
    this.#down = now
    if (again) this.#log.warn('no connection to the edge yet; trying again', { ...facts })
    else this.#log.warn('no connection to the edge; the next connection here tries again', { ...facts })
  }

  #event(event: string, facts: object = {}): void {
    if (!this.#program.json) return
    this.#program.print(jsonLineOf({ event, hostname: this.#hostname, address: this.address, ...facts }))
  }
}

function end(part: AsyncDisposable): PromiseLike<void> {
  return part[Symbol.asyncDispose]()
}
