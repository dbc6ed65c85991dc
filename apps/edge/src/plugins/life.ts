import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { type EdgeHost, type Logger, type OptionSpecs, PosternError } from '@postern/interface'
import { checkSpecs } from '@postern/options'
import { VERIFY_DEADLINE } from '../authorize/verify.ts'
import { Lending } from './lending.ts'
import { errorOf, type FromThread, type Settled, type ThreadStart, type ToThread, tell } from './wire.ts'

/** Milliseconds. */
export interface LifeTimes {
  /** In which a plugin is loaded, and in which it is created. The thread itself says sooner why not, unless it is blocked. */
  readonly start: number
  /** After which a call that is still not settled ends the thread: who asked was denied before that. */
  readonly hung: number
}

export const LIFE_TIMES: LifeTimes = { start: 15_000, hung: VERIFY_DEADLINE + 1000 }

/** Calls that one thread may have to answer at the same time. */
const MOST_CALLS = 256
/** Messages of one thread in a second. There is nothing else that slows it: a log line in a loop would fill the edge's memory. */
const MOST_MESSAGES = 20_000
/** MiB. Beyond it the thread ends, not the edge. */
const MEMORY = { maxOldGenerationSizeMb: 128, maxYoungGenerationSizeMb: 16 }
/** Milliseconds for what a plugin has to let go of. */
const END_TIME = 2000

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
  readonly timer: NodeJS.Timeout
}

/** One life of a plugin's thread, from its start to whatever ends it. It has one way out: {@link gone}. */
export class Life {
  /** Why the thread has ended. Resolves when it really has, never rejects. */
  readonly gone: Promise<string>
  readonly #worker: Worker
  readonly #times: LifeTimes
  readonly #log: Logger
  readonly #lending: Lending
  readonly #calls = new Map<number, Waiting>()
  #steps = Promise.withResolvers<FromThread>()
  #next = 1
  #why: string | undefined
  #heard = 0
  #second = 0

  constructor(start: ThreadStart, host: EdgeHost, log: Logger, times: LifeTimes = LIFE_TIMES) {
    this.#times = times
    this.#log = log
    this.#lending = new Lending(host, (id, settled) => this.#send({ type: 'reply', id, settled }))
    // Of the same kind as this file: a source under test, a module, or a part of the edge's bundle.
    const file = `./thread${extname(import.meta.url)}`
    this.#worker = new Worker(new URL(file, import.meta.url), {
      name: `postern-${start.entry.name}`,
      workerData: start,
      // Nothing of the edge's own: its environment may hold keys.
      env: {},
      argv: [],
      execArgv: [],
      stdin: false,
      stdout: true,
      stderr: true,
      resourceLimits: MEMORY,
    })
    this.#worker.on('message', (message: FromThread) => this.#hear(message))
    this.#worker.on('messageerror', () => this.#fail('it sent what cannot be read'))
    this.#worker.on('error', error => this.#fail(`its thread ended: ${tell(error).message}`))
    this.gone = new Promise(resolve => {
      this.#worker.once('exit', status => {
        this.#fail(`its thread exited with ${status}`)
        resolve(this.#why ?? '')
      })
    })
    for (const printed of [this.#worker.stdout, this.#worker.stderr])
      printed.setEncoding('utf8').on('data', (text: string) => log.debug('it printed', { text: text.slice(0, 1024) }))
  }

  /** Loads the module. @returns what it declares @throws PosternError PLUGIN_* */
  async load(): Promise<OptionSpecs> {
    const loaded = await this.#step('loaded')
    const options = loaded.type === 'loaded' ? loaded.options : undefined
    const wrong = checkSpecs(options)
    if (wrong.length > 0) throw new PosternError('PLUGIN_OPTIONS', wrong.join('; '))
    return options as OptionSpecs
  }

  /** @throws PosternError PLUGIN_* */
  async create(values: Readonly<Record<string, unknown>>): Promise<void> {
    this.#send({ type: 'create', values })
    await this.#step('created')
  }

  /** @throws Error what it throws, or why it cannot be asked; `signal.reason` */
  async ask(given: unknown, signal: AbortSignal): Promise<unknown> {
    signal.throwIfAborted()
    if (this.#why !== undefined) throw new Error(this.#why)
    if (this.#calls.size >= MOST_CALLS) throw new Error(`it has ${MOST_CALLS} calls to answer already`)
    const id = this.#next++
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    const abort = () => {
      this.#send({ type: 'abort', id })
      reject(signal.reason)
    }
    signal.addEventListener('abort', abort, { once: true })
    // Runs until the plugin has answered, whoever still waits: one that never does is hung.
    const timer = setTimeout(
      () => this.#fail(`it did not settle a call within ${this.#times.hung} ms`),
      this.#times.hung,
    )
    this.#calls.set(id, { resolve, reject, timer })
    this.#send({ type: 'call', id, given })
    return promise.finally(() => signal.removeEventListener('abort', abort))
  }

  /** Has it let go of what it holds, for a while, then ends it. Where its thread is stuck in the system, it is left behind. */
  async end(): Promise<void> {
    const late = new Promise(resolve => setTimeout(resolve, END_TIME).unref())
    this.#send({ type: 'end' })
    await Promise.race([this.#step('ended').catch(() => {}), late])
    this.#fail('the edge ended it')
    await Promise.race([this.gone, late])
  }

  /** The next thing that is not about a call. */
  async #step(wanted: FromThread['type']): Promise<FromThread> {
    const { promise, reject } = this.#steps
    const late = new PosternError('PLUGIN_LOAD', `its thread was not ${wanted} within ${this.#times.start} ms`)
    const timer = setTimeout(() => reject(late), this.#times.start)
    try {
      const said = await promise
      if (said.type === 'failed') throw PosternError.from(errorOf(said.error), 'PLUGIN_LOAD')
      if (said.type !== wanted) throw new PosternError('PLUGIN_LOAD', `its thread says ${said.type}, not ${wanted}`)
      return said
    } finally {
      clearTimeout(timer)
      if (this.#why === undefined) this.#steps = Promise.withResolvers()
    }
  }

  #hear(message: FromThread): void {
    if (this.#why !== undefined || this.#floods()) return
    try {
      this.#take(message)
    } catch {
      this.#fail('it sent what is no message')
    }
  }

  /** @throws TypeError for what is none: the plugin can send anything */
  #take(message: FromThread): void {
    if (message.type === 'answer') this.#settle(message.id, message.settled)
    else if (message.type === 'ask') void this.#lending.answer(message.id, String(message.service), message.args)
    else if (message.type === 'dropped') this.#lending.drop(message.id)
    else if (message.type === 'log') this.#note(message)
    else this.#steps.resolve(message)
  }

  #settle(id: number, settled: Settled): void {
    const waiting = this.#calls.get(id)
    this.#calls.delete(id)
    clearTimeout(waiting?.timer)
    if ('error' in settled) waiting?.reject(errorOf(settled.error))
    else waiting?.resolve(settled.value)
  }

  #note({ level, message, fields }: Extract<FromThread, { type: 'log' }>): void {
    const known = (['debug', 'info', 'warn', 'error'] as const).find(one => one === level) ?? 'info'
    const told = Object.entries(typeof fields === 'object' && fields !== null ? fields : {}).slice(0, 16)
    const short = told.map(([name, value]) => [
      name.slice(0, 64),
      typeof value === 'number' ? value : textOf(value).slice(0, 256),
    ])
    this.#log[known](String(message).slice(0, 1024), Object.fromEntries(short))
  }

  #floods(): boolean {
    const second = Math.floor(performance.now() / 1000)
    this.#heard = second === this.#second ? this.#heard + 1 : 1
    this.#second = second
    if (this.#heard > MOST_MESSAGES) this.#fail(`it sent more than ${MOST_MESSAGES} messages in a second`)
    return this.#heard > MOST_MESSAGES
  }

  #send(message: ToThread): void {
    if (this.#why === undefined) this.#worker.postMessage(message)
  }

  /** The end, once: who waits is told, and the thread is ended if it has not done so itself. */
  #fail(why: string): void {
    if (this.#why !== undefined) return
    this.#why = why
    for (const { reject, timer } of this.#calls.values()) {
      clearTimeout(timer)
      reject(new Error(why))
    }
    this.#calls.clear()
    this.#steps.promise.catch(() => {})
    this.#steps.reject(new PosternError('PLUGIN_LOAD', why))
    this.#lending[Symbol.dispose]()
    void this.#worker.terminate()
  }
}

/** Never throws: data that a visitor sent may be in it. */
function textOf(value: unknown): string {
  try {
    return String(value)
  } catch {
    return 'something without a text'
  }
}
