/** A promise as far as one caller cares: rejects with the signal's reason where that comes first. Leaves no listener. */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) {
    promise.catch(() => {}) // nobody is left to be told
    throw signal.reason
  }
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const abort = () => reject(signal.reason)
  signal.addEventListener('abort', abort)
  try {
    return await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

/**
 * Something that is made once for all who want it meanwhile. An abort of one of them is that one's alone; when the last one
 * has left, the making is aborted too.
 */
export class Making<T> {
  readonly result: Promise<T>
  readonly #stop = new AbortController()
  readonly #abandoned: () => void
  #waiting = 0
  #made = false

  /** @param abandoned told before the making is aborted, so that nobody new joins it */
  constructor(make: (signal: AbortSignal) => Promise<T>, abandoned: () => void) {
    this.#abandoned = abandoned
    this.result = make(this.#stop.signal)
    this.result.then(
      () => (this.#made = true),
      () => {},
    )
  }

  /** Nobody wants it any more. */
  get stopped(): boolean {
    return this.#stop.signal.aborted
  }

  async wait(signal: AbortSignal): Promise<T> {
    this.#waiting += 1
    try {
      return await untilAborted(this.result, signal)
    } finally {
      this.#waiting -= 1
      if (this.#waiting === 0 && signal.aborted && !this.#made) this.stop(signal.reason)
    }
  }

  stop(reason: unknown): void {
    this.#abandoned()
    this.#stop.abort(reason)
  }
}
