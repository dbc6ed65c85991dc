import { PosternError } from '@postern/interface'

/**
 * Milliseconds between telling a daemon why a session is cut and cutting it: for the daemon to pass it on to its client, whom the edge
 * cannot tell anything. Nobody's silence makes it longer.
 */
const LAST_WORD = 250

/** Puts a cut off for a moment, in which somebody may say why. Dispose it when there is nothing left to cut. */
export class Farewell implements Disposable {
  /** Aborted with the reason, once that moment is over. */
  readonly signal: AbortSignal
  readonly #ending: AbortSignal
  readonly #tell: (reason: PosternError) => boolean
  readonly #over = new AbortController()
  #timer: NodeJS.Timeout | undefined

  /**
   * @param ending what is to be cut, and why
   * @param tell whether somebody hears it: if not, there is nothing to wait for
   */
  constructor(ending: AbortSignal, tell: (reason: PosternError) => boolean) {
    this.signal = this.#over.signal
    this.#ending = ending
    this.#tell = tell
    if (ending.aborted) this.#begin()
    else ending.addEventListener('abort', this.#begin, { once: true })
  }

  readonly #begin = (): void => {
    const reason = PosternError.from(this.#ending.reason)
    if (this.#tell(reason)) this.#timer = setTimeout(() => this.#over.abort(reason), LAST_WORD)
    else this.#over.abort(reason)
  };

  [Symbol.dispose](): void {
    this.#ending.removeEventListener('abort', this.#begin)
    clearTimeout(this.#timer)
  }
}
