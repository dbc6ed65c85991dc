import { randomBytes } from 'node:crypto'
import { hashSecret, randomSecret } from './secret.ts'

/** A token that is one string, as it is shown once. Only `id` and `hash`, of the secret inside, may be kept. */
export interface NewBearerToken {
  /** `pat_` (admin token), `pset_` (setup token), `pcon_` (a daemon's) or `pinv_` (invitation), and 24 hexadecimal digits: public. */
  readonly id: string
  /** `pats_`, `psets_`, `pcons_` or `pinvs_`, the id's 24 digits, `_`, and 43 characters: 256 random bits. */
  readonly token: string
  readonly hash: string
}

/** What such a token says. Nothing is proved by it until the secret was compared. */
export interface BearerTokenParts {
  readonly id: string
  readonly secret: string
}

/** 24 digits, `_` and 43 characters, behind a prefix of 5 or 6. Nothing of another length is looked at. */
const REST = 24 + 1 + 43
const PARTS = /^([0-9a-f]{24})_([A-Za-z0-9_-]{43})$/

/**
 * Makes an admin token: whoever shows it administers the edge.
 *
 * @example
 * const { id, token, hash } = createAdminToken()   // show `token` to its owner, once; keep `hash` under `id`
 */
export function createAdminToken(): NewBearerToken {
  return create('pat')
}

/** Reads an admin token strictly. @returns undefined for anything {@link createAdminToken} could not have made */
export function readAdminToken(token: string): BearerTokenParts | undefined {
  return read('pat', token)
}

/** Makes a setup token: whoever shows it, once and soon, gets the first admin token of a new edge. */
export function createSetupToken(): NewBearerToken {
  return create('pset')
}

/** Reads a setup token strictly. @returns undefined for anything {@link createSetupToken} could not have made */
export function readSetupToken(token: string): BearerTokenParts | undefined {
  return read('pset', token)
}

/** Makes a daemon's setup token: whoever shows it, once and soon, enrols one certificate. */
export function createConnectorSetup(): NewBearerToken {
  return create('pcon')
}

/** Reads a daemon's setup token strictly. @returns undefined for anything {@link createConnectorSetup} could not have made */
export function readConnectorSetup(token: string): BearerTokenParts | undefined {
  return read('pcon', token)
}

/** Makes the token of a one-time link: whoever opens it, once and soon, sets the password of one person. */
export function createInvitation(): NewBearerToken {
  return create('pinv')
}

/** Reads an invitation's token strictly. @returns undefined for anything {@link createInvitation} could not have made */
export function readInvitation(token: string): BearerTokenParts | undefined {
  return read('pinv', token)
}

function create(kind: string): NewBearerToken {
  const digits = randomBytes(12).toString('hex')
  const secret = randomSecret()
  return { id: `${kind}_${digits}`, token: `${kind}s_${digits}_${secret}`, hash: hashSecret(secret) }
}

function read(kind: string, token: string): BearerTokenParts | undefined {
  const prefix = `${kind}s_`
  if (token.length !== prefix.length + REST || !token.startsWith(prefix)) return undefined
  const [, digits, secret] = PARTS.exec(token.slice(prefix.length)) ?? []
  return digits === undefined || secret === undefined ? undefined : { id: `${kind}_${digits}`, secret }
}
