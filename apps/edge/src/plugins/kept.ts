import { type Kind, type Logger, type OptionSpecs, PosternError } from '@postern/interface'
import type { Life } from './life.ts'

/** Milliseconds until a thread that ended is started again: doubled each time it ends soon after. */
const FIRST_WAIT = 250
const LONGEST_WAIT = 30_000
/** A thread that lived as long as this is started again as if it were the first time. */
const HEALTHY = 60_000
/** After so many ends in a row nobody hopes any more: the circuit is open, and it is tried once in {@link LONGEST_WAIT}. */
const OPEN_AFTER = 5

/** How a plugin in its own thread is, for whoever administers the edge. Counts since the edge started. */
export interface KeptStatus {
  readonly kind: Kind
  readonly name: string
  readonly package: string
  readonly version?: string
  /** `restarting`: its thread ended and is started again soon; `open`: it ends again and again, and is tried seldom. */
  readonly state: 'running' | 'restarting' | 'open'
  readonly asked: number
  /** Answers that were none. */
  readonly failed: number
  readonly restarts: number
  /** Why its thread ended last. */
  readonly because?: string
}

export interface KeptOptions {
  readonly kind: Kind
  readonly name: string
  readonly package: string
  readonly version?: string
  /** A new life of it, loaded. Looks first whether it still is what was added. @throws PosternError PLUGIN_* */
  begin(): Promise<{ readonly life: Life; readonly options: OptionSpecs }>
  /** What it is created with. @throws PosternError OPTION_* */
  values(options: OptionSpecs): Promise<Readonly<Record<string, unknown>>>
  /** Takes the plugin's secrets out of what is told of it. */
  scrub(text: string): string
  readonly log: Logger
  /** For tests. */
  readonly firstWait?: number
}

/** A plugin by somebody else: in a thread of its own, started again when that ends. */
export class Kept implements AsyncDisposable {
  readonly #options: KeptOptions
  #life: Life | undefined
  #values: Readonly<Record<string, unknown>> | undefined
  #timer: NodeJS.Timeout | undefined
  #ended = false
  #endsInARow = 0
  #asked = 0
  #failed = 0
  #restarts = 0
  #because: string | undefined

  private constructor(options: KeptOptions) {
    this.#options = options
  }

  /** With its first life, which has to succeed. @throws PosternError PLUGIN_*, OPTION_* */
  static async start(options: KeptOptions): Promise<Kept> {
    const kept = new Kept(options)
    await kept.#begin()
    return kept
  }

  get status(): KeptStatus {
    const { kind, name, package: from, version } = this.#options
    const state = this.#life !== undefined ? 'running' : this.#endsInARow >= OPEN_AFTER ? 'open' : 'restarting'
    const counts = { asked: this.#asked, failed: this.#failed, restarts: this.#restarts }
    const because = this.#because === undefined ? {} : { because: this.#because }
    return { kind, name, package: from, ...(version !== undefined && { version }), state, ...counts, ...because }
  }

  /**
   * @param read takes the answer for what it is, or throws
   * @param isAnswer what it may throw as well
   * @throws Error whatever else it does, without its secrets; what `isAnswer` holds for; `signal.reason`
   */
  async ask<T>(
    given: unknown,
    read: (answer: unknown) => T,
    isAnswer: (thrown: unknown) => boolean,
    signal: AbortSignal,
  ): Promise<T> {
    this.#asked += 1
    try {
      if (this.#life === undefined) throw new Error(`its thread ended and is not back yet: ${this.#because}`)
      return read(await this.#life.ask(given, signal))
    } catch (error) {
      if (isAnswer(error)) throw error
      const late = PosternError.is(error) ? error.code === 'TIMED_OUT' : (error as Error).name === 'TimeoutError'
      if (signal.aborted && !late) throw error // nobody waits for it any more
      this.#failed += 1
      throw new Error(this.#options.scrub(PosternError.from(error).message))
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true
    clearTimeout(this.#timer)
    await this.#life?.end()
  }

  async #begin(): Promise<void> {
    const { life, options } = await this.#options.begin()
    try {
      // Read once: what was right at the start of the edge stays what it is.
      this.#values ??= await this.#options.values(options)
      await life.create(this.#values)
    } catch (error) {
      await life.end()
      throw error
    }
    if (this.#ended) return life.end()
    this.#life = life
    const began = performance.now()
    void life.gone.then(why => {
      this.#life = undefined
      if (performance.now() - began >= HEALTHY) this.#endsInARow = 0
      this.#again(why)
    })
  }

  #again(why: string): void {
    if (this.#ended) return
    const { name, package: from, log, scrub, firstWait = FIRST_WAIT } = this.#options
    this.#because = scrub(why)
    const wait = Math.min(LONGEST_WAIT, firstWait * 2 ** this.#endsInARow)
    this.#endsInARow += 1
    const open = this.#endsInARow >= OPEN_AFTER
    const said = open ? 'ends again and again: it is tried seldom, and denies' : 'ended: it denies until it is back'
    log.error(`a plugin’s thread ${said}`, { plugin: name, package: from, cause: this.#because, againInMs: wait })
    this.#timer = setTimeout(() => {
      this.#restarts += 1
      this.#begin().catch(error => this.#again(PosternError.from(error).message))
    }, wait)
  }
}
