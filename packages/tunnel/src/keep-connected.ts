import type { Call } from '@postern/interface'
import { type Clock, sleep, systemClock } from './clock.ts'

/** How {@link keepConnected} waits between two attempts. */
export interface KeepConnectedOptions {
  /** The first attempt's longest wait, in ms; it doubles with every failure. Default 1,000. */
  readonly baseMs?: number
  /** No wait is longer, in ms. Default 30,000. */
  readonly capMs?: number
  /** A connection that lived this long, in ms, makes the next wait start at the base again. Default 30,000. */
  readonly stableMs?: number
  /** Says of a failure that trying again cannot help (a revoked token): `keepConnected` then throws it. */
  readonly fatal?: (error: unknown) => boolean
  /**
   * Asked at the start of every wait. Aborting what it gives back ends the wait within `baseMs`: somebody else got through, so waiting
   * longer helps nobody.
   */
  readonly news?: () => AbortSignal
  /** Told before every wait. */
  readonly onRetry?: (retry: Retry) => void
  readonly clock?: Clock
  /** From 0 up to 1, not included. Default Math.random. */
  readonly random?: () => number
}

export interface Retry {
  /** Failures in a row, from 1. */
  readonly attempt: number
  readonly delayMs: number
  /** Why; undefined when the connection ended cleanly. */
  readonly error: unknown
  /** How long the connection lived; undefined when there was none. */
  readonly livedMs: number | undefined
}

/**
 * The wait before the next attempt, full jitter: evenly from 0 to base·2^(failures−1), at most the cap.
 * @see https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export function backoff(failures: number, baseMs: number, capMs: number, random: () => number): number {
  return random() * Math.min(capMs, baseMs * 2 ** Math.max(0, failures - 1))
}

/**
 * Connects, waits for the connection's end, waits a jittered while and connects again, until the call is aborted.
 * `connect` gets the number of failures so far in a row, and owns what it made: on abort it ends it through `call.signal`.
 *
 * @throws `signal.reason` on abort; the error that `fatal` named
 */
export async function keepConnected(
  connect: (attempt: number, call: Call) => Promise<{ readonly closed: Promise<unknown> }>,
  options: KeepConnectedOptions,
  call: Call,
): Promise<void> {
  const { baseMs = 1000, capMs = 30_000, stableMs = 30_000, clock = systemClock, random = Math.random } = options
  for (let failures = 0; ; ) {
    call.signal.throwIfAborted()
    const { error, livedMs } = await once(() => connect(failures, call), clock, call.signal)
    call.signal.throwIfAborted()
    if (error !== undefined && options.fatal?.(error)) throw error
    failures = livedMs !== undefined && livedMs >= stableMs ? 1 : failures + 1
    const delayMs = backoff(failures, baseMs, capMs, random)
    options.onRetry?.({ attempt: failures, delayMs, error, livedMs })
    await waitFor(delayMs, options.news?.(), () => random() * baseMs, clock, call.signal)
  }
}

async function waitFor(
  ms: number,
  news: AbortSignal | undefined,
  soon: () => number,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  if (news === undefined) return sleep(ms, signal, clock)
  try {
    await sleep(ms, AbortSignal.any([signal, news]), clock)
  } catch {
    signal.throwIfAborted()
    await sleep(Math.min(ms, soon()), signal, clock)
  }
}

/** One connection from dial to end. Never rejects, and does not outwait an abort. */
async function once(
  connect: () => Promise<{ readonly closed: Promise<unknown> }>,
  clock: Clock,
  signal: AbortSignal,
): Promise<{ readonly error: unknown; readonly livedMs: number | undefined }> {
  let since: number | undefined
  try {
    const { closed } = await connect()
    since = clock.now()
    const error = await untilAbort(closed, signal)
    return { error, livedMs: clock.now() - since }
  } catch (error) {
    return { error, livedMs: since === undefined ? undefined : clock.now() - since }
  }
}

function untilAbort(closed: Promise<unknown>, signal: AbortSignal): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>()
  const onAbort = (): void => resolve(undefined)
  closed.then(resolve, reject)
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort, { once: true })
  return promise.finally(() => signal.removeEventListener('abort', onAbort))
}
