import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { ENVIRONMENT } from '../processes.ts'
import type { Visit } from './peer.ts'

/** What the generator is asked for. */
export interface Work {
  readonly visit: Visit
  readonly seconds: number
  /** Connections at once. */
  readonly parallel: number
}

/** How it went, or why it did not go. */
export interface Worked {
  readonly failed?: string
  readonly seconds?: number
  /** Milliseconds each connection took to its first byte. */
  readonly times?: readonly number[]
}

/** Seconds beside the time that it measures. */
const PATIENCE = 60

/** The load generator: the same process for every peer, and never part of a peer's figures. */
export class Load implements AsyncDisposable {
  readonly #generator = fork(join(import.meta.dirname, 'generator.ts'), { env: ENVIRONMENT })

  /** @throws Error when any visit was answered otherwise, or none in the time */
  async visit(work: Work): Promise<Required<Pick<Worked, 'times' | 'seconds'>>> {
    const signal = AbortSignal.timeout((work.seconds + PATIENCE) * 1000)
    const said = once(this.#generator, 'message', { signal })
    this.#generator.send(work)
    const [{ failed, times = [], seconds = work.seconds }] = (await said) as [Worked]
    if (failed !== undefined || times.length === 0) throw new Error(`no visit: ${failed ?? 'none came in the time'}`)
    return { times, seconds }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#generator.exitCode !== null || this.#generator.signalCode !== null) return
    const gone = once(this.#generator, 'exit')
    this.#generator.kill('SIGKILL')
    await gone
  }
}
