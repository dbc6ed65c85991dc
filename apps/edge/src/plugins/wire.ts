import { isCode, type ManifestEntry, PosternError } from '@postern/interface'

// What the edge and a plugin's thread say to each other: plain data, which is copied. Nothing of the one is reached by the other.

/** What a thread is started with. */
export interface ThreadStart {
  /** The module of the edge side. Absolute. */
  readonly file: string
  readonly package: string
  readonly entry: ManifestEntry
}

export type ToThread =
  | { readonly type: 'create'; readonly values: Readonly<Record<string, unknown>> }
  /** `given`: what is presented, of a verifier; a permit, of a protocol. */
  | { readonly type: 'call'; readonly id: number; readonly given: unknown }
  | { readonly type: 'abort'; readonly id: number }
  | { readonly type: 'reply'; readonly id: number; readonly settled: Settled }
  | { readonly type: 'end' }

export type FromThread =
  | { readonly type: 'loaded'; readonly options: unknown }
  | { readonly type: 'created' }
  | { readonly type: 'failed'; readonly error: Told }
  | { readonly type: 'answer'; readonly id: number; readonly settled: Settled }
  | { readonly type: 'ask'; readonly id: number; readonly service: string; readonly args: readonly unknown[] }
  | { readonly type: 'dropped'; readonly id: number }
  | { readonly type: 'log'; readonly level: string; readonly message: string; readonly fields: unknown }
  | { readonly type: 'ended' }

/** How a call ended. */
export type Settled = { readonly value: unknown } | { readonly error: Told }

/** An error as it crosses. */
export interface Told {
  readonly code?: string
  readonly message: string
  readonly next?: string
}

const LONGEST = 512

/** Whatever was thrown, in words. Never throws. */
export function tell(thrown: unknown): Told {
  try {
    if (!(thrown instanceof Error))
      return { message: `something that is no error: ${String(thrown)}`.slice(0, LONGEST) }
    const message = String(thrown.message).slice(0, LONGEST)
    if (!PosternError.is(thrown)) return { message }
    return { code: String(thrown.code), message, next: String(thrown.next).slice(0, LONGEST) }
  } catch {
    return { message: 'something that throws when it is looked at' }
  }
}

/** The error again: a PosternError if it was one. What the other end calls a code may be none. */
export function errorOf(told: Partial<Record<keyof Told, unknown>>): Error {
  const message = String(told.message).slice(0, LONGEST)
  if (!isCode(told.code)) return new Error(message)
  return new PosternError(
    told.code,
    message,
    typeof told.next === 'string' ? { next: told.next.slice(0, LONGEST) } : {},
  )
}

/** An answer of the guarded `fetch`. It was read as a whole. */
export interface Fetched {
  readonly status: number
  readonly headers: readonly (readonly [string, string])[]
  readonly body: Uint8Array
}

/** A question to the guarded `fetch`. */
export interface Fetching {
  readonly url: string
  readonly method: string
  readonly headers: readonly (readonly [string, string])[]
  readonly redirect: 'follow' | 'error' | 'manual'
  readonly body?: Uint8Array
}
