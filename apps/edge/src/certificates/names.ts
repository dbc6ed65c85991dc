import { createHash } from 'node:crypto'
import { isIP } from 'node:net'
import { type Identity, PosternError } from '@postern/interface'
import { readEmail, vouchedEmail } from '@postern/policy'
import { speakerOf } from '../authorize/speaker.ts'
import { isHostname } from '../front/hostname.ts'
import type { NameRecord } from './records.ts'

/** Issuer of the identities of service tokens; their subject is the token's id. */
export const SERVICE_TOKEN_ISSUER = 'postern:service-token'

/**
 * Names that an administrator gives, spelled as they are compared.
 *
 * @throws PosternError BAD_USAGE: a name that could be read in two ways, or one twice
 */
export function readNames(names: readonly NameRecord[]): readonly NameRecord[] {
  const read = names.map(({ type, value }, at) => {
    const spelled = READERS[type](value)
    if (spelled === undefined) throw badUsage(`san[${at}]: ${JSON.stringify(value.slice(0, 64))} is ${WRONG[type]}`)
    return { type, value: spelled }
  })
  if (new Set(read.map(({ type, value }) => `${type} ${value}`)).size < read.length)
    throw badUsage('san has a name twice')
  return read
}

const READERS: Readonly<Record<NameRecord['type'], (value: string) => string | undefined>> = {
  dns: value => (isHostname(value.toLowerCase()) ? value.toLowerCase() : undefined),
  email: emailOf,
  uri: value => (URL.parse(value)?.href === value || URL.parse(value)?.href === `${value}/` ? value : undefined),
  ip: value => (isIP(value) === 0 ? undefined : addressOf(value)),
}

const WRONG: Readonly<Record<NameRecord['type'], string>> = {
  dns: 'not a DNS name of ASCII letters, digits and hyphens',
  email: 'not an address of one @ and ASCII letters',
  uri: 'not a URI as it is usually spelled',
  ip: 'not an IP address',
}

function emailOf(value: string): string | undefined {
  const email = readEmail(value)
  return email && `${email.local}@${email.domain}`
}

/** RFC 5952, as the policy compares it; undefined for one with a zone. */
function addressOf(value: string): string | undefined {
  if (isIP(value) === 4) return value
  const host = URL.parse(`https://[${value}]/`)?.hostname
  return host?.slice(1, -1)
}

/** Who a certificate is for, and what it says of them. */
export interface Holder {
  readonly holder: { readonly issuer: string; readonly subject: string }
  readonly commonName?: string
  readonly san: readonly NameRecord[]
}

/**
 * What a certificate says of whoever asks for one: nothing of it is theirs to choose.
 *
 * @param team the team's origin: each gets a URI below it, which is the same one whenever they ask
 * @throws PosternError LOGIN_REQUIRED: there is nobody; ACCESS_DENIED: there are several
 */
export function holderOf(identities: readonly Identity[], team: string): Holder {
  if (identities.length === 0) throw new PosternError('LOGIN_REQUIRED', 'nobody is identified', { speaker: 'edge' })
  const found = speakerOf(identities)
  if (found === undefined)
    throw new PosternError('ACCESS_DENIED', 'a certificate is for one, and several were identified', {
      speaker: 'edge',
      next: 'Show the credential alone that it is for.',
    })
  const { issuer, subject } = found
  const vouched = found.kind === 'user' ? vouchedEmail(found) : undefined
  const email = vouched && `${vouched.local}@${vouched.domain}`
  const commonName = commonNameOf(email ?? givenNameOf(found))
  const uri: NameRecord = { type: 'uri', value: `${team}/${pathOf(found)}` }
  return {
    holder: { issuer, subject },
    ...(commonName !== undefined && { commonName }),
    san: email === undefined ? [uri] : [{ type: 'email', value: email }, uri],
  }
}

/** What an administrator called a service token. What people call themselves is theirs to choose, so it names nobody. */
function givenNameOf({ issuer, claims }: Identity): unknown {
  return issuer === SERVICE_TOKEN_ISSUER ? claims.name : undefined
}

function pathOf({ kind, issuer, subject }: Identity): string {
  if (issuer === SERVICE_TOKEN_ISSUER) return `service-tokens/${subject}`
  const hash = createHash('sha256').update(`${issuer} ${subject}`).digest('base64url').slice(0, 22)
  return `${kind}s/${hash}`
}

/** RFC 5280 gives a common name 64 characters; one that is longer, or has what is unseen in it, is left out. */
function commonNameOf(text: unknown): string | undefined {
  if (typeof text !== 'string' || text.length > 64) return undefined
  return /^[^\p{C}\u2028\u2029]+$/u.test(text) ? text : undefined
}

function badUsage(message: string): PosternError {
  return new PosternError('BAD_USAGE', message, { speaker: 'edge' })
}
