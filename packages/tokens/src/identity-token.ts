import type { Identity, Json } from '@postern/interface'
import { rejected } from './compact-jws.ts'
import type { TokenClaims } from './verify-token.ts'

/** The request header in which an origin gets the identity token. */
export const IDENTITY_HEADER = 'postern-identity'
/** The `typ` of an identity token, and of no other token. */
export const IDENTITY_TYP = 'postern-identity+jwt'

/** Who is on the other side, as an origin is told. */
export interface TokenIdentity {
  readonly kind: Identity['kind']
  /** Who vouches for them. (issuer, subject) is the key, never an email. */
  readonly issuer: string
  readonly subject: string
  /** Only when the issuer vouches for it. */
  readonly email?: string
  readonly groups?: readonly string[]
}

const KINDS: readonly unknown[] = ['user', 'service', 'certificate'] satisfies Identity['kind'][]

/**
 * The claims of an identity token. `iss` of the token is the team domain, which signs; `idp` says who vouched for the
 * person, and `sub` is theirs. Other claims of the identity stay at the edge: an origin gets what it asks for, not all there is.
 */
export function identityClaims(identity: TokenIdentity): Readonly<Record<string, Json>> {
  const { kind, issuer, subject, email, groups } = identity
  return { sub: subject, idp: issuer, kind, ...(email !== undefined && { email }), ...(groups && { groups }) }
}

/** Reads what {@link identityClaims} wrote, from a token that was verified. @throws AUTH_REJECTED for anything else */
export function readIdentityClaims({ sub, idp, kind, email, groups }: TokenClaims): TokenIdentity {
  if (!isText(sub) || !isText(idp) || !KINDS.includes(kind)) throw rejected('it does not say who it is about')
  if (email !== undefined && !isText(email)) throw rejected('its email is not a text')
  if (groups !== undefined && !(Array.isArray(groups) && groups.every(isText)))
    throw rejected('its groups are not a list of texts')
  return {
    kind: kind as Identity['kind'],
    issuer: idp,
    subject: sub,
    ...(email !== undefined && { email }),
    ...(groups !== undefined && { groups }),
  }
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}
