import { validateHeaderName, validateHeaderValue } from 'node:http'
import type { Identity, Json, SentHeaders } from '@postern/interface'

/** Characters of an identity as JSON: it travels in the header of every stream. */
const LARGEST_IDENTITY = 8192

/** What a verifier said, read by hand. `nonsense` is anything that no honest verifier says, with why. */
export type ReadVerdict =
  | { readonly absent: true }
  | { readonly identity: Identity }
  | { readonly challenge: SentHeaders }
  | { readonly nonsense: string }

/**
 * Reads what a verifier returned. It is copied first, as data: a Proxy, a function or a getter that throws does not survive
 * that, and what was checked is what is used.
 *
 * @param name the verifier's; identities of `postern:…` are its own only under that name
 */
export function readVerdict(returned: unknown, name: string): ReadVerdict {
  if (returned === undefined) return { absent: true }
  let value: unknown
  try {
    value = structuredClone(returned)
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

function readIdentity(value: unknown, name: string): ReadVerdict {
  if (!isPlain(value)) return { nonsense: 'the identity is not an object' }
  const unknown = Object.keys(value).find(key => !Object.hasOwn(CHECKS, key))
  if (unknown !== undefined) return { nonsense: 'the identity has a member that is not known' }
  for (const [key, check] of Object.entries(CHECKS)) {
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

function isJson(value: unknown, depth: number): value is Json {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return true
  if (typeof value === 'number') return Number.isFinite(value)
  if (typeof value !== 'object' || depth > DEEPEST) return false
  if (Array.isArray(value)) return value.every(one => isJson(one, depth + 1))
  return Object.getPrototypeOf(value) === Object.prototype && Object.values(value).every(one => isJson(one, depth + 1))
}
