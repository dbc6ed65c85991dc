import assert from 'node:assert/strict'
import { type Call, type Code, PosternError } from '@postern/interface'

/** Waits for something that may not come: after `within` ms the failure says what was awaited. */
export async function within<T>(promise: Promise<T>, what: string, milliseconds = 5_000): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error(`${what}: still not after ${milliseconds} ms`)), milliseconds)
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** Waits for a condition that other people's events make true. */
export async function eventually(condition: () => boolean, what: string, milliseconds = 5_000): Promise<void> {
  const until = performance.now() + milliseconds
  while (!condition()) {
    if (performance.now() > until) throw new Error(`${what}: still not after ${milliseconds} ms`)
    await pause(10)
  }
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, milliseconds))
}

/** @returns what it rejected with */
export async function rejection(promise: Promise<unknown>, what: string, milliseconds = 5_000): Promise<unknown> {
  const outcome = promise.then(
    value => ({ value, failed: false as const }),
    (error: unknown) => ({ error, failed: true as const }),
  )
  const settled = await within(outcome, what, milliseconds)
  if (!settled.failed) assert.fail(`${what}: it should have failed, and did not`)
  return settled.error
}

/** The call must reject with one of these codes. */
export async function rejectsWith(
  promise: Promise<unknown>,
  codes: readonly Code[],
  what: string,
): Promise<PosternError> {
  const error = await rejection(promise, what)
  assert.ok(
    PosternError.is(error),
    `${what}: threw ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}, not a PosternError`,
  )
  assert.ok(codes.includes(error.code), `${what}: the code is ${error.code}, wanted ${codes.join(' or ')}`)
  return error
}

/** The call must reject with the signal's reason itself, unwrapped. */
export async function rejectsWithReason(promise: Promise<unknown>, reason: unknown, what: string): Promise<void> {
  const error = await rejection(promise, what)
  assert.equal(error, reason, `${what}: must reject with signal.reason itself, got ${String(error)}`)
}

/** A call of one's own that can be aborted, and is when the case is over. */
export function abortable(call: Call): { readonly call: Call; readonly abort: (reason: unknown) => void } {
  const own = new AbortController()
  if (call.signal.aborted) own.abort(call.signal.reason)
  call.signal.addEventListener('abort', () => own.abort(call.signal.reason), { once: true, signal: own.signal })
  return { call: { signal: own.signal, log: call.log }, abort: reason => own.abort(reason) }
}
