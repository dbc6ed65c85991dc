import { type Identity, type Json, PosternError } from '@postern/interface'
import type { SshCertificateOrder } from '@postern/pki/ssh/certificate'
import {
  isSshPrincipal,
  readSshPermit,
  SSH_EXTENSIONS,
  SSH_SECONDS,
  type SshPermit,
  type SshPrincipal,
} from '@postern/pki/ssh/permit'
import type { SshPublicKey } from '@postern/pki/ssh/public-key'
import { vouchedEmail } from '@postern/policy'
import type { AccessAdmission } from '../authorize/authorize.ts'
import { speakerOf } from '../authorize/speaker.ts'

/** Seconds: a server whose clock is behind by no more takes a new certificate. */
const BACKDATED = 60
/** A user name as `useradd` makes one. */
const USER_NAME = /^[a-z_][a-z0-9_.-]{0,31}$/
const LONGEST_WHO = 200

/** Who was let in, and what the rule that did so permits. */
export type Admitted = Pick<AccessAdmission, 'identities' | 'permit' | 'requestId'>

/**
 * What the certificate of somebody who was let in is to say. It ends with what they were let in by: a session, a token.
 *
 * @param now milliseconds since the epoch
 * @throws PosternError ACCESS_DENIED: the rule gives no user names, or none follows from who they are; LOGIN_REQUIRED: there is no second left
 */
export function orderFor(
  { identities, permit, requestId }: Admitted,
  publicKey: SshPublicKey,
  now: number,
): SshCertificateOrder {
  const { principals, extensions = SSH_EXTENSIONS, seconds = SSH_SECONDS.usual, forceCommand } = permitOf(permit)
  if (principals === undefined) throw noPrincipals()
  const ends = Math.min(now + seconds * 1000, ...identities.flatMap(({ expiresAt }) => expiresAt ?? []))
  const [since, validBefore] = [Math.floor(now / 1000), Math.floor(ends / 1000)]
  if (!(validBefore > since)) throw new PosternError('LOGIN_REQUIRED', 'the sign-in ends now', { speaker: 'edge' })
  const who = speakerOf(identities)
  return {
    publicKey,
    keyId: `${whoIs(identities)}:${requestId}`,
    principals: [...new Set(principals.map(one => principalOf(one, who)))],
    validAfter: since - BACKDATED,
    validBefore,
    extensions,
    ...(forceCommand !== undefined && { criticalOptions: { 'force-command': forceCommand } }),
  }
}

function permitOf(permit: Json): SshPermit {
  const isAbout = typeof permit === 'object' && permit !== null && Object.hasOwn(permit, 'ssh')
  const read = readSshPermit(isAbout ? ((permit as { readonly [name: string]: Json }).ssh ?? null) : {})
  // It was checked when it was saved; what is not as it was then permits nothing.
  if ('wrong' in read)
    throw denied('what the rule permits for SSH cannot be read', `It has to be corrected: ${read.wrong[0]}.`)
  return read.permit
}

/** `root` is a name that a rule spells out, and follows from nobody. */
function principalOf(principal: SshPrincipal, who: Identity | undefined): string {
  if (typeof principal === 'string') return principal
  const isClaim = 'claim' in principal
  const name = isClaim ? claimed(principal.claim, who) : localPartAt(principal.emailLocalPart, who)
  if (name !== undefined && name !== 'root') return name
  const wanted = isClaim
    ? `there is no usable claim ${JSON.stringify(principal.claim)}`
    : `there is no usable address at ${principal.emailLocalPart}`
  throw denied(
    `no user name for SSH follows from who you are: ${wanted}`,
    'Ask the application’s administrator, with the request id.',
  )
}

function claimed(claim: string, who: Identity | undefined): string | undefined {
  const value = who !== undefined && Object.hasOwn(who.claims, claim) ? who.claims[claim] : undefined
  return typeof value === 'string' && isSshPrincipal(value) ? value : undefined
}

/** Of a person's address that their provider vouches for, at exactly this domain: that of another one is another person's name. */
function localPartAt(domain: string, who: Identity | undefined): string | undefined {
  if (who?.kind !== 'user') return undefined
  const email = vouchedEmail(who)
  return email?.domain === domain && USER_NAME.test(email.local) ? email.local : undefined
}

/** For sshd’s log, where it stands between other words. */
function whoIs(identities: readonly Identity[]): string {
  const texts = identities.map(({ email, issuer, subject }) => email ?? `${issuer}/${subject}`)
  return texts
    .join('+')
    .slice(0, LONGEST_WHO)
    .replace(/[^A-Za-z0-9@._/+-]/g, '_')
}

function noPrincipals(): PosternError {
  return denied(
    'the rule that lets you in gives no user names for SSH',
    'Have an administrator add to the rule: permit: { "ssh": { "principals": ["NAME"] } }. In the place of "NAME", { "emailLocalPart": "example.com" } is the name of each person’s address there.',
  )
}

function denied(message: string, next: string): PosternError {
  return new PosternError('ACCESS_DENIED', message, { speaker: 'edge', next })
}
