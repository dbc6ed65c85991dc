import { type Identity, type Json, PosternError } from '@postern/interface'
import type { SshCertificateOrder } from '@postern/pki/ssh/certificate'
import { isSshPrincipal, readSshPermit, SSH_EXTENSIONS, SSH_SECONDS, type SshPermit } from '@postern/pki/ssh/permit'
import type { SshPublicKey } from '@postern/pki/ssh/public-key'
import { readEmail } from '@postern/policy'
import type { AccessAdmission } from '../authorize/authorize.ts'

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
 * @throws PosternError ACCESS_DENIED: no user name follows from who they are; LOGIN_REQUIRED: there is no second left
 */
export function orderFor(
  { identities, permit, requestId }: Admitted,
  publicKey: SshPublicKey,
  now: number,
): SshCertificateOrder {
  const { principals, extensions = SSH_EXTENSIONS, seconds = SSH_SECONDS.usual, forceCommand } = permitOf(permit)
  const ends = Math.min(now + seconds * 1000, ...identities.flatMap(({ expiresAt }) => expiresAt ?? []))
  const [since, validBefore] = [Math.floor(now / 1000), Math.floor(ends / 1000)]
  if (!(validBefore > since)) throw new PosternError('LOGIN_REQUIRED', 'the sign-in ends now', { speaker: 'edge' })
  const who = speakerOf(identities)
  return {
    publicKey,
    keyId: `${whoIs(identities)}:${requestId}`,
    principals: [...new Set(principals === undefined ? [nameOf(who)] : principals.map(one => principalOf(one, who)))],
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

/** Whose claims count: the person, or who else came. Of two nobody can say which one the rule meant. */
function speakerOf(identities: readonly Identity[]): Identity | undefined {
  const people = identities.filter(({ kind }) => kind === 'user')
  const [one, ...others] = people.length > 0 ? people : identities
  return others.length === 0 ? one : undefined
}

/** `root` is a name that a rule gives, and nobody's claim. */
function principalOf(principal: string | { readonly claim: string }, who: Identity | undefined): string {
  if (typeof principal === 'string') return principal
  const { claim } = principal
  const value = who !== undefined && Object.hasOwn(who.claims, claim) ? who.claims[claim] : undefined
  if (typeof value === 'string' && isSshPrincipal(value) && value !== 'root') return value
  throw denied(
    `no user name for SSH follows from who you are: there is no usable claim ${JSON.stringify(claim)}`,
    'Ask the application’s administrator, with the request id.',
  )
}

/** Of the address that the provider vouches for. */
function nameOf(who: Identity | undefined): string {
  const { email = '', claims = {} } = who ?? {}
  const isVouched = !Object.hasOwn(claims, 'email_verified') || claims.email_verified === true
  const name = isVouched ? readEmail(email)?.local : undefined
  if (name !== undefined && USER_NAME.test(name) && name !== 'root') return name
  throw denied(
    'no user name for SSH follows from who you are',
    'Ask the application’s administrator to name one in the rule: permit.ssh.principals.',
  )
}

/** For sshd’s log, where it stands between other words. */
function whoIs(identities: readonly Identity[]): string {
  const texts = identities.map(({ email, issuer, subject }) => email ?? `${issuer}/${subject}`)
  return texts
    .join('+')
    .slice(0, LONGEST_WHO)
    .replace(/[^A-Za-z0-9@._/+-]/g, '_')
}

function denied(message: string, next: string): PosternError {
  return new PosternError('ACCESS_DENIED', message, { speaker: 'edge', next })
}
