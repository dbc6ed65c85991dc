/** Time, so that tests need not wait for it. What a timer returns cancels it; cancelling twice is fine. */
export interface Clock {
  /** Milliseconds, never going back. */
  now(): number
  after(ms: number, run: () => void): () => void
  every(ms: number, run: () => void): () => void
}

/** The machine's own time. Its timers keep the process up until they are cancelled: whoever starts one owns it. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms)
    return () => clearTimeout(timer)
  },
  every(ms, run) {
    const timer = setInterval(run, ms)
    return () => clearInterval(timer)
  },
}

/** Resolves after `ms`; rejects with `signal.reason` when the signal aborts first. Leaves no timer and no listener. */
export function sleep(ms: number, signal: AbortSignal, clock: Clock): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  if (signal.aborted) {
    reject(signal.reason)
    return promise
  }
  const onAbort = (): void => {
    cancel()
    reject(signal.reason)
  }
  const cancel = clock.after(ms, () => {
    signal.removeEventListener('abort', onAbort)
    resolve()
  })
  signal.addEventListener('abort', onAbort, { once: true })
  return promise
}
