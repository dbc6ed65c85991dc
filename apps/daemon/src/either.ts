/**
 * A signal that is aborted with the first of some: as `AbortSignal.any`, which takes several kilobytes for each, for who can say when it
 * is no longer wanted.
 */
export class Either implements Disposable {
  readonly #stop = new AbortController()
  readonly #signals: readonly AbortSignal[]

  constructor(...signals: readonly AbortSignal[]) {
    this.#signals = signals
    for (const signal of signals) signal.addEventListener('abort', this)
    const first = signals.find(signal => signal.aborted)
    if (first !== undefined) this.#stop.abort(first.reason)
  }

  get signal(): AbortSignal {
    return this.#stop.signal
  }

  /** An event of one of them. */
  handleEvent({ target }: Event): void {
    this.#stop.abort((target as AbortSignal).reason)
  }

  [Symbol.dispose](): void {
    for (const signal of this.#signals) signal.removeEventListener('abort', this)
  }
}
