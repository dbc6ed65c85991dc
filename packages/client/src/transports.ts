import { type Call, type Code, PosternError, type Transport } from '@postern/interface'

/** A transport by the name that people know it by. */
export interface NamedTransport {
  readonly name: string
  readonly transport: Transport
}

/** What something between here and the edge may do to one way of reaching it, and not to another. */
const MENDABLE: ReadonlySet<Code> = new Set(['EDGE_PROTOCOL', 'TIMED_OUT', 'STREAM_CUT', 'SESSION_LOST', 'PEER_SILENT'])

/** It is no edge that can do what is wanted, by that transport. */
const SAID: ReadonlySet<Code> = new Set(['MODE_FORBIDDEN', 'VERSION_UNSUPPORTED'])

/** Errors of other codes that another transport may mend all the same. */
const marked = new WeakSet<PosternError>()

/** Says of an error that another transport may mend it, whatever its code. */
export function mendable(error: PosternError): PosternError {
  marked.add(error)
  return error
}

function isMendable(error: unknown): error is PosternError {
  if (!PosternError.is(error)) return false
  // What an edge said of itself stands, whichever way it is asked.
  const isSaid = error.refusal !== undefined && error.code !== 'EDGE_PROTOCOL'
  return marked.has(error) || (MENDABLE.has(error.code) && !isSaid)
}

/** Ways to one edge, in the order in which they are tried. The one that worked is tried first from then on. */
export class Transports {
  #order: readonly NamedTransport[]
  /** Of these was told that they do not get through. */
  readonly #told = new Set<string>()

  /** @throws PosternError BAD_USAGE: none */
  constructor(order: readonly NamedTransport[]) {
    if (order.length === 0) throw new PosternError('BAD_USAGE', 'there is no transport to reach the edge by')
    this.#order = order
  }

  /** As they are tried now. */
  get order(): readonly NamedTransport[] {
    return this.#order
  }

  /**
   * Tries one after the other, as long as the next may mend what was wrong with the last.
   *
   * @throws what `attempt` threw: a refusal at once; of several the last error, which names the others
   */
  async use<T>(attempt: (one: NamedTransport) => Promise<T>, call: Call): Promise<T> {
    const failed: { readonly name: string; readonly error: PosternError }[] = []
    for (const one of this.#order) {
      try {
        const result = await attempt(one)
        if (failed.length > 0) {
          this.#order = [one, ...this.#order.filter(other => other !== one)]
          call.log.info(`the edge is reached by ${one.name}`)
        }
        return result
      } catch (error) {
        call.signal.throwIfAborted()
        if (!isMendable(error)) throw error
        failed.push({ name: one.name, error })
        const next = this.#order[failed.length]
        if (next) this.#tell(one.name, next.name, error, call)
      }
    }
    throw together(failed)
  }

  #tell(name: string, next: string, { code, message }: PosternError, { log }: Call): void {
    const say = this.#told.has(name) ? log.debug : log.info
    this.#told.add(name)
    say.call(log, `no way to the edge by ${name}; trying ${next}`, { code, cause: message })
  }
}

/** @throws the one error there is */
function together(failed: readonly { readonly name: string; readonly error: PosternError }[]): PosternError {
  // What an edge said of itself says more than what does not get through to it.
  const told = failed.findLast(({ error: { code } }) => SAID.has(code)) ?? failed.at(-1)
  const { name, error } = told ?? { name: '', error: new PosternError('INTERNAL', 'no transport was tried') }
  const others = failed.filter(one => one !== told).map(one => `by ${one.name} ${one.error.message}`)
  if (others.length === 0) return error
  const { code, message, speaker, requestId, next } = error
  const facts = { cause: error, ...(speaker && { speaker }), ...(requestId && { requestId }), ...(next && { next }) }
  return new PosternError(code, `by ${name} ${message}; ${others.join('; ')}`, facts)
}
