import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { ENVIRONMENT } from '../processes.ts'

/** What the generator is asked for. */
export interface Work {
  readonly kind: 'down' | 'up' | 'connect'
  readonly port: number
  readonly seconds: number
  /** Connections at once, for `connect`. */
  readonly parallel: number
}

/** What it says: that counting begins, how it went, or why it did not go. */
export interface Worked {
  readonly begins?: true
  readonly failed?: string
  readonly bytes?: number
  readonly seconds?: number
  /** Milliseconds each connection took to its first byte. */
  readonly times?: readonly number[]
}

const ORIGIN_DEADLINE = 10_000

/** Load generator and service: the same two processes for every peer, and never part of a peer's figures. */
export class Load implements AsyncDisposable {
  readonly #generator = fork(join(import.meta.dirname, 'generator.ts'), { env: ENVIRONMENT })
  readonly #origin = fork(join(import.meta.dirname, 'origin.ts'), { env: ENVIRONMENT })
  port = 0

  static async start(): Promise<Load> {
    const load = new Load()
    const [{ port }] = await once(load.#origin, 'message', { signal: AbortSignal.timeout(ORIGIN_DEADLINE) })
    load.port = port
    return load
  }

  /** Connections to a port, one after the other in each of `parallel` places. */
  async connections(
    port: number,
    seconds: number,
    parallel: number,
  ): Promise<Required<Pick<Worked, 'times' | 'seconds'>>> {
    const { times = [], seconds: took = seconds } = await this.#ask(
      { kind: 'connect', port, seconds, parallel },
      async () => {},
    )
    if (times.length === 0) throw new Error('not one connection was made in the time')
    return { times, seconds: took }
  }

  /** One stream. @param begins called when counting begins, and again when it is over */
  async bulk(
    kind: 'down' | 'up',
    port: number,
    seconds: number,
    mark: () => void,
  ): Promise<{ bytes: number; seconds: number }> {
    let first = { read: 0, at: 0 }
    const work = { kind, port, seconds, parallel: 1 }
    const done = await this.#ask(work, async () => {
      mark()
      first = await this.#read()
    })
    mark()
    if (kind === 'down') return { bytes: done.bytes ?? 0, seconds: done.seconds ?? seconds }
    const last = await this.#read()
    return { bytes: last.read - first.read, seconds: (last.at - first.at) / 1000 }
  }

  /** What the service has read so far, by its own clock. */
  async #read(): Promise<{ readonly read: number; readonly at: number }> {
    const answer = once(this.#origin, 'message', { signal: AbortSignal.timeout(ORIGIN_DEADLINE) })
    this.#origin.send('read')
    return (await answer)[0]
  }

  #ask(work: Work, begins: () => Promise<void>): Promise<Worked> {
    return new Promise((resolve, reject) => {
      const late = setTimeout(
        () => finish(() => reject(new Error('the load generator is silent'))),
        (work.seconds + 60) * 1000,
      )
      const heard = (said: Worked) => {
        if (said.begins) begins().catch(reject)
        else finish(() => (said.failed ? reject(new Error(said.failed)) : resolve(said)))
      }
      const gone = () => finish(() => reject(new Error('the load generator ended')))
      const finish = (then: () => void) => {
        clearTimeout(late)
        this.#generator.off('message', heard).off('exit', gone)
        then()
      }
      this.#generator.on('message', heard).once('exit', gone).send(work)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([end(this.#generator), end(this.#origin)])
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
}
