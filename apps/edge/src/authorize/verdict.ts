import { validateHeaderName, validateHeaderValue } from 'node:http'
import { isProxy } from 'node:util/types'
import type { Identity, Json, SentHeaders } from '@postern/interface'

/** Characters of an identity as JSON: it travels in the header of every stream. */
const LARGEST_IDENTITY = 8192
/** Values in an answer, each of which would be a character at least. A list may be said to have four thousand million, or be in itself. */
const MOST_VALUES = LARGEST_IDENTITY

/** What a verifier said, read by hand. `nonsense` is anything that no honest verifier says, with why. */
export type ReadVerdict =
  | { readonly absent: true }
  | { readonly identity: Identity }
  | { readonly challenge: SentHeaders }
  | { readonly nonsense: string }

/**
 * Reads what a verifier returned. It is copied first, as data: a Proxy, a function or a getter that throws does not survive
 * that, and what was checked is what is used. By hand: `structuredClone` costs more than the rest of a decision.
 *
 * @param name the verifier's; identities of `postern:…` are its own only under that name
 */
export function readVerdict(returned: unknown, name: string): ReadVerdict {
  if (returned === undefined) return { absent: true }
  let value: unknown
  try {
    value = plainCopy(returned, 0, { values: 0 })
  } catch {
    return { nonsense: 'not plain data' }
  }
  if (!isPlain(value)) return { nonsense: 'not an object' }
  const [key, ...others] = Object.keys(value)
  if (others.length > 0) return { nonsense: 'more than one answer' }
  if (key === 'identity') return readIdentity(value.identity, name)
  if (key === 'challenge') return readChallenge(value.challenge)
  return { nonsense: 'neither an identity nor a challenge' }
}

const KINDS: readonly unknown[] = ['user', 'service', 'certificate'] satisfies Identity['kind'][]

const CHECKS: Readonly<Record<keyof Identity, (value: unknown) => boolean>> = {
  kind: value => KINDS.includes(value),
  issuer: isText,
  subject: isText,
  email: value => value === undefined || isText(value),
  groups: value => value === undefined || isTexts(value),
  claims: isJsonObject,
  expiresAt: value => value === undefined || Number.isFinite(value),
  revokeKeys: isTexts,
}

const CHECKED = Object.entries(CHECKS)

function readIdentity(value: unknown, name: string): ReadVerdict {
  if (!isPlain(value)) return { nonsense: 'the identity is not an object' }
  const unknown = Object.keys(value).find(key => !Object.hasOwn(CHECKS, key))
  if (unknown !== undefined) return { nonsense: 'the identity has a member that is not known' }
  for (const [key, check] of CHECKED) {
    if (!check(value[key])) return { nonsense: `the identity’s ${key} is not valid` }
  }
  const identity = value as unknown as Identity
  if (identity.issuer.startsWith('postern:') && identity.issuer !== `postern:${name}`) {
    return { nonsense: 'the identity claims an issuer of Postern’s own' }
  }
  if (JSON.stringify(identity).length > LARGEST_IDENTITY) return { nonsense: 'the identity is too large' }
  return { identity }
}

function readChallenge(value: unknown): ReadVerdict {
  if (!isPlain(value)) return { nonsense: 'the challenge is not an object' }
  try {
    for (const [name, values] of Object.entries(value)) {
      validateHeaderName(name)
      for (const one of [values].flat()) {
        if (typeof one !== 'string') return { nonsense: 'a challenge header is not text' }
        validateHeaderValue(name, one)
      }
    }
  } catch {
    return { nonsense: 'a challenge header is not valid' }
  }
  return { challenge: value as SentHeaders }
}

/** @throws Error for anything but plain objects, arrays and what is no object; for too much */
function plainCopy(value: unknown, depth: number, seen: { values: number }): unknown {
  seen.values += 1
  if (seen.values > MOST_VALUES) throw new Error('too much')
  if (typeof value === 'function' || typeof value === 'symbol') throw new Error('not data')
  if (typeof value !== 'object' || value === null) return value
  if (isProxy(value) || depth > DEEPEST_COPIED) throw new Error('not plain')
  if (Array.isArray(value)) {
    const copy: unknown[] = []
    for (let at = 0; at < value.length; at += 1) copy.push(plainCopy(value[at], depth + 1, seen))
    return copy
  }
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) throw new Error('not plain')
  const copy: Record<string, unknown> = {}
  for (const key of Object.keys(value)) {
    const one = plainCopy((value as Record<string, unknown>)[key], depth + 1, seen)
    if (key !== '__proto__') copy[key] = one
    else Object.defineProperty(copy, key, { value: one, enumerable: true, configurable: true, writable: true })
  }
  return copy
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every(isText)
}

/** Only what JSON says as it is: a Date or a Map would arrive as something else. */
function isJsonObject(value: unknown): boolean {
  return isPlain(value) && isJson(value, 0)
}

const DEEPEST = 16
/** Claims are three deep themselves. What is deeper, or has no end, is refused where it is copied. */
const DEEPEST_COPIED = DEEPEST + 3

function isJson(value: unknown, depth: number): value is Json {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return true
  if (typeof value === 'number') return Number.isFinite(value)
  if (typeof value !== 'object' || depth > DEEPEST) return false
  if (Array.isArray(value)) return value.every(one => isJson(one, depth + 1))
  return Object.getPrototypeOf(value) === Object.prototype && Object.values(value).every(one => isJson(one, depth + 1))
}
