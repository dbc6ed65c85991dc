import type { Call } from '@postern/interface'

/** What {@link withDeadline} gives when time is up. */
export const LATE: unique symbol = Symbol('late')

/**
 * Runs somebody else's code for at most `ms` milliseconds. Code that blocks the thread cannot be interrupted, but when it gives
 * the thread back too late, that counts as late as well.
 *
 * @param tooLate gets the result that nobody waits for any more
 * @returns the result in a box, since an async function would wait for a result that is a thenable
 * @throws what `work` throws; `signal.reason` on abort
 */
export async function withDeadline<T>(
  work: () => Promise<T> | T,
  ms: number,
  { signal }: Call,
  tooLate: (value: T) => void = () => {},
): Promise<{ readonly value: T } | typeof LATE> {
  signal.throwIfAborted()
  const { promise: ended, resolve, reject } = Promise.withResolvers<typeof LATE>()
  const began = performance.now()
  let over = false
  const timer = setTimeout(() => resolve(LATE), ms)
  const onAbort = () => reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  // Nested in an async function: a synchronous throw becomes a rejection. Wrapped in a box: the value may be a thenable.
  const running = (async () => ({ value: await work() }))()
  running.then(
    ({ value }) => over && tooLate(value),
    () => {},
  )
  try {
    const first = await Promise.race([running, ended])
    if (first === LATE) return LATE
    if (performance.now() - began <= ms) return first
    tooLate(first.value)
    return LATE
  } finally {
    over = true
    clearTimeout(timer)
    signal.removeEventListener('abort', onAbort)
  }
}
