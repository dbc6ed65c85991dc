import { type Json, PosternError } from '@postern/interface'
import { readEmail } from '@postern/policy'
import type { ProviderRecord } from './provider-record.ts'
import type { Person } from './session-record.ts'

export type Claims = Readonly<Record<string, Json | undefined>>

/** What is about the token and not about the person (OpenID Connect Core §2; RFC 7519 §4.1), and names no object should have. */
const NOT_THE_PERSON = new Set(
  'iss sub aud exp nbf iat jti nonce acr amr azp auth_time at_hash c_hash s_hash sid _claim_names _claim_sources'
    .split(' ')
    .concat('__proto__', 'constructor', 'prototype'),
)
/** The provider’s own name of the sign-in, by which it may end it. Ours is `sid`. */
export const PROVIDER_SID = 'provider_sid'
const LONGEST_NAME = 200

/**
 * The person of claims whose signature, issuer, audience and nonce hold. An email only where the provider says that it is theirs, or is trusted to give no other.
 *
 * @throws PosternError AUTH_REJECTED: groups that are not all there, or no list
 */
export function personOf(
  claims: Claims,
  { groupsClaim, trustEmail = false }: Pick<ProviderRecord, 'groupsClaim' | 'trustEmail'>,
): Person {
  const { iss, sub, sid, name } = claims
  if (typeof iss !== 'string' || typeof sub !== 'string') throw unusable('it names nobody')
  const email = emailOf(claims, trustEmail)
  const groups = groupsOf(claims, groupsClaim)
  const kept = Object.entries(claims).filter(
    ([key, value]) =>
      value !== undefined && !NOT_THE_PERSON.has(key) && (email !== undefined || !key.startsWith('email')),
  ) as [string, Json][]
  return {
    issuer: iss,
    subject: sub,
    ...(typeof name === 'string' && name !== '' && { name: name.slice(0, LONGEST_NAME) }),
    ...(email !== undefined && { email }),
    ...(groups !== undefined && { groups }),
    claims: { ...Object.fromEntries(kept), ...(typeof sid === 'string' && { [PROVIDER_SID]: sid }) },
  }
}

/** The address as policies compare it; none where it is not verified, or could be read in two ways. */
function emailOf({ email, email_verified: said }: Claims, trusted: boolean): string | undefined {
  // Some providers write the boolean as a string, in user info above all.
  const isVerified = said === undefined ? trusted : said === true || said === 'true'
  if (typeof email !== 'string' || !isVerified) return undefined
  const read = readEmail(email)
  return read && `${read.local}@${read.domain}`
}

function groupsOf(claims: Claims, name: string | undefined): readonly string[] | undefined {
  if (name === undefined) return undefined
  const elsewhere = claims._claim_names
  // Too many to fit, so the provider says where to ask (OpenID Connect Core §5.6.2): the one that denies may be among them.
  if (typeof elsewhere === 'object' && elsewhere !== null && Object.hasOwn(elsewhere, name))
    throw unusable('it has more groups than it sends')
  const value = Object.hasOwn(claims, name) ? claims[name] : undefined
  if (value === undefined || value === null) return []
  const list = typeof value === 'string' ? [value] : value
  if (!Array.isArray(list) || !list.every(one => typeof one === 'string'))
    throw unusable('its groups are no list of names')
  return list.filter(one => one !== '')
}

function unusable(why: string): PosternError {
  return new PosternError('AUTH_REJECTED', `what the provider says of this person cannot be used: ${why}`, {
    speaker: 'edge',
    next: 'Tell whoever runs this; what the provider sends has to be changed.',
  })
}
