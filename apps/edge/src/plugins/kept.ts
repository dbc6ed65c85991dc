import {
  type AuthVerifier,
  type Call,
  type Logger,
  type OptionSpecs,
  PosternError,
  type Presented,
  type Verdict,
} from '@postern/interface'
import { readVerdict } from '../authorize/verdict.ts'
import { REFUSALS } from '../authorize/verify.ts'
import type { Life } from './life.ts'

/** Milliseconds until a thread that ended is started again: doubled each time it ends soon after. */
const FIRST_WAIT = 250
const LONGEST_WAIT = 30_000
/** A thread that lived as long as this is started again as if it were the first time. */
const HEALTHY = 60_000
/** After so many ends in a row nobody hopes any more: the circuit is open, and it is tried once in {@link LONGEST_WAIT}. */
const OPEN_AFTER = 5

/** How a verifier in its own thread is, for whoever administers the edge. Counts since the edge started. */
export interface VerifierStatus {
  readonly name: string
  readonly package: string
  readonly version?: string
  /** `restarting`: its thread ended and is started again soon; `open`: it ends again and again, and is tried seldom. */
  readonly state: 'running' | 'restarting' | 'open'
  readonly asked: number
  /** Answers that are none: what denies, with its name. */
  readonly failed: number
  readonly restarts: number
  /** Why its thread ended last. */
  readonly because?: string
}

export interface KeptOptions {
  readonly name: string
  readonly package: string
  readonly version?: string
  /** What of a request it wants to see; absent: all. */
  readonly reads?: readonly string[]
  /** A new life of it, loaded. Looks first whether it still is what was added. @throws PosternError PLUGIN_* */
  begin(): Promise<{ readonly life: Life; readonly options: OptionSpecs }>
  /** What it is created with. @throws PosternError OPTION_* */
  values(options: OptionSpecs): Promise<Readonly<Record<string, unknown>>>
  /** Takes the verifier's secrets out of what is told of it. */
  scrub(text: string): string
  readonly log: Logger
  /** For tests. */
  readonly firstWait?: number
}

/**
 * A verifier by somebody else: in a thread of its own, started again when that ends. While there is none, and whenever it fails,
 * its answer is an error, which denies.
 */
export class KeptVerifier implements AuthVerifier {
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
  static async start(options: KeptOptions): Promise<KeptVerifier> {
    const kept = new KeptVerifier(options)
    await kept.#begin()
    return kept
  }

  get status(): VerifierStatus {
    const { name, package: from, version } = this.#options
    const state = this.#life !== undefined ? 'running' : this.#endsInARow >= OPEN_AFTER ? 'open' : 'restarting'
    const counts = { asked: this.#asked, failed: this.#failed, restarts: this.#restarts }
    const because = this.#because === undefined ? {} : { because: this.#because }
    return { name, package: from, ...(version !== undefined && { version }), state, ...counts, ...because }
  }

  async verify(presented: Presented, { signal }: Call): Promise<Verdict | undefined> {
    const { name, reads, scrub } = this.#options
    if (reads !== undefined && !isFor(presented, reads)) return undefined
    this.#asked += 1
    try {
      if (this.#life === undefined) throw new Error(`its thread ended and is not back yet: ${this.#because}`)
      const answer = await this.#life.verify(shown(presented, reads), signal)
      const read = readVerdict(answer, name)
      if ('nonsense' in read) throw new Error(read.nonsense)
      return answer as Verdict | undefined
    } catch (error) {
      const code = PosternError.is(error) ? error.code : undefined
      if (code !== undefined && REFUSALS.includes(code)) throw error
      if (signal.aborted && code !== 'TIMED_OUT') throw error // nobody waits for it any more
      this.#failed += 1
      throw new Error(scrub(PosternError.from(error).message))
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
    const said = open
      ? 'a verifier ends again and again: it is tried seldom, and denies'
      : 'a verifier’s thread ended: it denies until it is back'
    log.error(said, { verifier: name, package: from, cause: this.#because, againInMs: wait })
    this.#timer = setTimeout(() => {
      this.#restarts += 1
      this.#begin().catch(error => this.#again(PosternError.from(error).message))
    }, wait)
  }
}

function isFor({ headers, peerCertificate }: Presented, reads: readonly string[]): boolean {
  return reads.some(one => (one === ':certificate' ? peerCertificate !== undefined : Object.hasOwn(headers, one)))
}

/** A copy with what it reads: other people's credentials are none of its business. */
function shown(presented: Presented, reads: readonly string[] | undefined): Presented {
  const { method, url, remoteAddress, headers, peerCertificate, peerCertificateError, peerCertificateChain } = presented
  const picked = reads?.filter(name => Object.hasOwn(headers, name)).map(name => [name, headers[name] ?? []] as const)
  const seen = picked === undefined ? headers : Object.fromEntries(picked)
  const base = { method, url, remoteAddress, headers: seen }
  if (peerCertificate === undefined || reads?.includes(':certificate') === false) return base
  // Bytes are copied: a slice of a pool would carry all of the pool across.
  return {
    ...base,
    peerCertificate: new Uint8Array(peerCertificate),
    ...(peerCertificateError !== undefined && { peerCertificateError }),
    ...(peerCertificateChain && { peerCertificateChain: peerCertificateChain.map(one => new Uint8Array(one)) }),
  }
}
