import type { Json } from '@postern/interface'

/** What the edge keeps of somebody's sign-in, under `session.<id>`; what is not needed here is left out. */
export interface Session {
  readonly person: {
    readonly issuer: string
    readonly subject: string
    readonly name?: string
    readonly email?: string
    readonly groups?: readonly string[]
    readonly claims: Readonly<Record<string, Json>>
  }
  /** Milliseconds since the epoch. */
  readonly authenticatedAt: number
}

/** What lets a session into one application, under `cookie.<id>`. */
export interface Cookie {
  readonly session: string
  readonly hostname: string
  /** Made by `hashSecret` of @postern/tokens. */
  readonly hash: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

/** @returns undefined for anything that is not a whole record: what cannot be read lets nobody in */
export function readSession(value: Json | undefined): Session | undefined {
  if (!isObject(value) || value.kind !== 'session' || !isTime(value.authenticatedAt)) return undefined
  const { person } = value
  if (!isObject(person) || !isText(person.issuer) || !isText(person.subject) || !isObject(person.claims))
    return undefined
  return value as unknown as Session
}

export function readCookie(value: Json | undefined): Cookie | undefined {
  if (!isObject(value) || value.kind !== 'cookie' || !isTime(value.expiresAt)) return undefined
  return [value.session, value.hostname, value.hash].every(isText) ? (value as unknown as Cookie) : undefined
}

function isObject(value: Json | undefined): value is { readonly [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isText(value: Json | undefined): boolean {
  return typeof value === 'string' && value !== ''
}

function isTime(value: Json | undefined): value is number {
  return typeof value === 'number' && Number.isFinite(value)
}
