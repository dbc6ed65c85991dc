// Tokens made by hand, part for part, as an attacker would.
import { sign } from 'node:crypto'
import type { KeyRing } from '../src/index.ts'

export const ISSUER = 'https://team.example.com'
export const AUDIENCE = 'app.example.com'
export const TYP = 'at+jwt'
export const EXPECTED = { typ: TYP, issuer: ISSUER, audience: AUDIENCE }
export const SIGNING = { ...EXPECTED, lifetimeSeconds: 300 }

export function base64url(part: string | Uint8Array | object): string {
  if (typeof part === 'string') return Buffer.from(part).toString('base64url')
  return Buffer.from(part instanceof Uint8Array ? part : JSON.stringify(part)).toString('base64url')
}

/** Header and payload as they are given, text or value, with a signature over exactly these bytes. */
export function forge(header: string | object, payload: string | object, signature: (input: string) => string): string {
  const input = `${base64url(header)}.${base64url(payload)}`
  return `${input}.${signature(input)}`
}

/** Really signed with the ring's own key: only what is around the signature can be wrong. */
export function signedBy(ring: KeyRing): (input: string) => string {
  const { privateJwk, alg } = currentOf(ring)
  const key = {
    key: privateJwk,
    format: 'jwk' as const,
    ...(alg === 'ES256' && { dsaEncoding: 'ieee-p1363' as const }),
  }
  return input => sign('sha256', Buffer.from(input), key).toString('base64url')
}

export function currentOf(ring: KeyRing) {
  return ring.exportSecret().keys.find(key => key.state === 'current')!
}

/** Claims that hold now. */
export function goodClaims(now = Math.floor(Date.now() / 1000)) {
  return { sub: 'ann', iss: ISSUER, aud: AUDIENCE, iat: now, exp: now + 300 }
}

export function goodHeader(ring: KeyRing) {
  const { alg, kid } = currentOf(ring)
  return { alg, typ: TYP, kid }
}
