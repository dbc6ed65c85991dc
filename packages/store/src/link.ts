import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { PosternError } from '@postern/interface'
import type { Answers, Asked, Question, Reply, WriterStart } from './wire.ts'

/** Milliseconds; an answer that takes longer means a disk that hangs. */
const DEADLINE = 30_000

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: PosternError) => void
}

/** The way to the writer thread: questions in order, answers in order. */
export class WriterLink {
  readonly #worker: Worker
  readonly #waiting = new Map<number, Waiting>()
  readonly #gone: Promise<void>
  #lost: PosternError | undefined
  #next = 1

  constructor(start: WriterStart) {
    // The writer is of the same kind as this file: a source under test, a module, or a part of the edge's bundle.
    const file = `./writer${extname(import.meta.url)}`
    this.#worker = new Worker(new URL(file, import.meta.url), { workerData: start, env: {}, name: 'postern-store' })
    this.#worker.on('message', (reply: Reply) => this.#settle(reply))
    this.#worker.on('error', cause => this.#lose(cause))
    this.#gone = new Promise(resolve => {
      this.#worker.once('exit', () => {
        this.#lose(undefined)
        resolve()
      })
    })
  }

  /**
   * @param onLate called when it hangs: what was asked may still be done
   * @throws PosternError what the writer says; STORE_UNUSABLE when it is gone or hangs
   */
  async ask<A extends Asked>(asked: A, onLate?: () => void): Promise<Answers[A['ask']]> {
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(() => {
      onLate?.()
      late.reject(new PosternError('STORE_UNUSABLE', `the database did not answer within ${DEADLINE / 1000} s`))
    }, DEADLINE)
    return Promise.race([this.wait(asked), late.promise]).finally(() => clearTimeout(timer))
  }

  /** {@link ask}, however long it takes. */
  wait<A extends Asked>(asked: A): Promise<Answers[A['ask']]> {
    if (this.#lost !== undefined) return Promise.reject(this.#lost)
    const id = this.#next++
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    this.#waiting.set(id, { resolve, reject })
    this.#worker.postMessage({ ...asked, id } satisfies Question)
    return promise as Promise<Answers[A['ask']]>
  }

  /** Ends the thread. What was asked before is answered first. */
  async close(): Promise<void> {
    await this.ask({ ask: 'close' }).catch(() => {})
    await this.#worker.terminate()
    await this.#gone
  }

  #settle(reply: Reply): void {
    const waiting = this.#waiting.get(reply.id)
    if (waiting === undefined) return
    this.#waiting.delete(reply.id)
    if ('failed' in reply) {
      const { code, message, next } = reply.failed
      waiting.reject(new PosternError(code, message, { next }))
    } else waiting.resolve(reply.value)
  }

  #lose(cause: unknown): void {
    this.#lost ??= new PosternError('STORE_UNUSABLE', 'the database’s writer has stopped', { cause })
    for (const { reject } of this.#waiting.values()) reject(this.#lost)
    this.#waiting.clear()
  }
}
