import { createHash, timingSafeEqual } from 'node:crypto'
import type { Json } from '@postern/interface'

/** Where somebody wants to get who has to sign in first. It travels in a ticket, so what it says is what the edge said. */
export type Wanted = ForApplication | ForTeam

export interface ForApplication {
  readonly hostname: string
  /** Path and query to come back to. */
  readonly target: string
  /** {@link mark} of the number that the browser has on the application’s hostname. */
  readonly browser: string
  /** Sign in again, as somebody else perhaps, even with a session that is good. */
  readonly again?: true
}

export interface ForTeam {
  /** A path of the team domain. */
  readonly returnTo: string
  /** How long ago the person may have signed in, in seconds. */
  readonly maxAgeSeconds?: number
  readonly again?: true
}

export const HOME: ForTeam = { returnTo: '/' }

/** Seconds from the first redirect until the person has signed in. */
export const SIGN_IN_SECONDS = 600
/** Characters of a path and query to come back to; a longer one comes back to the first page. Providers take URLs of 8 KiB or less. */
const LONGEST_TARGET = 2048

/** A path on the very host it is for: never the beginning of another host’s name. */
export function backTo(target: string): string {
  const isPath = /^\/(?![/\\])[!-~]*$/.test(target)
  return isPath && target.length <= LONGEST_TARGET ? target : '/'
}

export function asJson(wanted: Wanted): Json {
  return { ...wanted }
}

/** @param value what {@link asJson} made, out of a ticket */
export function asWanted(value: Json): Wanted {
  return value as unknown as Wanted
}

/** What may be known of a number that only one browser has. */
export function mark(nonce: string): string {
  return createHash('sha256').update(nonce).digest('base64url')
}

export function isMarkOf(marked: string, nonce: string): boolean {
  const [a, b] = [Buffer.from(marked), Buffer.from(mark(nonce))]
  return a.length === b.length && timingSafeEqual(a, b)
}
