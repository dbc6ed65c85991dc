import { setTimeout as sleep } from 'node:timers/promises'
import type { ShownConnector, Tunnel } from '@postern/admin'
import { checkConnector, checkIdentity, keyFingerprint } from '@postern/connector'
import { keepIdentity, readIdentity } from '@postern/connector/files'
import {
  createConnector,
  createIdentity,
  isCertificateOf,
  type NewConnector,
  signConnector,
} from '@postern/connector/issue'
import { type Call, PosternError } from '@postern/interface'
import { type Program, terminal } from '@postern/program'
import type { Administration } from './administering.ts'

/** Milliseconds between looks whether somebody has signed. */
const LOOK = 3_000
/** Seconds that the certificate of a machine is good beside its successor: enough to start its daemon again. */
const REPLACED = 3600

export interface Wanted {
  readonly tunnel: string
  readonly identityFile: string | undefined
}

export interface Enrolled {
  readonly made: ShownConnector
  readonly one: NewConnector
  readonly certificate: string
  /** PEM of the tunnel's. */
  readonly identity: string
}

/**
 * A certificate for a key that is made here and never sent: signed by the tunnel's identity, which is made here too where the
 * tunnel has none yet.
 *
 * @throws PosternError TIMED_OUT: nobody signed it; what the edge and the files say
 */
export async function enrol(
  wanted: Wanted,
  administration: Administration,
  program: Program,
  call: Call,
): Promise<Enrolled> {
  const { tunnel } = wanted
  const { identity } = await withIdentity(wanted, administration, program, call)
  if (identity === undefined) throw new PosternError('EDGE_PROTOCOL', `the tunnel ${tunnel} got no identity`)
  const one = await createConnector()
  const own = await readIdentity(program.env, tunnel, identity.fingerprint, wanted.identityFile)
  const certificate = own
    ? await signConnector(own, tunnel, one)
    : await signedElsewhere(tunnel, one, identity.certificate, administration, call)
  const body = { certificate, host: one.host }
  const made = await administration.call('connector.enrol', { params: { name: tunnel }, body }, call)
  return { made, one, certificate, identity: identity.certificate }
}

/** The connector that this machine was before, once what it is now is in its file: until then nothing ends. */
export async function retire(tunnel: string, id: string, administration: Administration, call: Call): Promise<void> {
  const asked = { params: { name: tunnel, id }, body: { overlapSeconds: REPLACED } }
  await administration.call('connector.retire', asked, call).catch(error => {
    const { code, message } = PosternError.from(error)
    // It was put out before, by somebody.
    if (code === 'NOT_FOUND') return
    const next = `postern tunnel evict ${tunnel} ${id}`
    call.log.warn('the certificate before stays good, which can be ended', {
      connector: id,
      code,
      error: message,
      next,
    })
  })
}

/** The tunnel, made where there is none, with an identity, made where it has none. */
async function withIdentity(
  { tunnel: name, identityFile }: Wanted,
  administration: Administration,
  program: Program,
  call: Call,
): Promise<Tunnel> {
  const there = await administration.call('tunnel.get', { params: { name } }, call).catch(error => {
    if (PosternError.is(error) && error.code === 'NOT_FOUND') return undefined
    throw error
  })
  if (there?.identity !== undefined) return there
  const identity = await createIdentity(name)
  const path = await keepIdentity(program.env, name, identity, identityFile)
  const { cert } = identity
  const tunnel = there
    ? await administration.call('tunnel-identity.put', { params: { name }, body: { certificate: cert } }, call)
    : await administration.call('tunnel.create', { body: { name, identity: cert } }, call)
  const { log } = call
  log.info(there ? 'the tunnel had no identity, so it was made here' : 'the tunnel is made, with its identity', {
    tunnel: name,
    fingerprint: keyFingerprint(identity.key),
    file: path,
  })
  log.info(
    'keep that file: who has it makes daemons of this tunnel; without it postern tunnel rotate makes another one',
  )
  return tunnel
}

async function signedElsewhere(
  tunnel: string,
  { id: connector, publicKey, key, host }: NewConnector,
  identity: string,
  administration: Administration,
  call: Call,
): Promise<string> {
  const body = { connector, publicKey, host }
  const asked = await administration.call('signing-request.create', { params: { name: tunnel }, body }, call)
  terminal.show(
    `The identity of the tunnel ${tunnel} is not on this machine. On the one that has it, within 15 minutes:`,
  )
  terminal.show(`    postern tunnel sign ${tunnel}`)
  terminal.show('It asks about a key with this fingerprint; say no to any other:')
  terminal.show(`    ${keyFingerprint(key)}`)
  const params = { name: tunnel, id: asked.id }
  for (const until = Date.parse(asked.expiresAt); Date.now() < until; ) {
    await sleep(LOOK, undefined, { signal: call.signal }).catch(() => call.signal.throwIfAborted())
    const { certificate } = await administration.call('signing-request.get', { params }, call).catch(notSigned)
    if (certificate === undefined) continue
    const signed = checkConnector(certificate, checkIdentity(identity), tunnel)
    if (signed.id === connector && isCertificateOf(key, certificate)) return certificate
    throw new PosternError('EDGE_PROTOCOL', 'the certificate that came is for another key than this machine’s')
  }
  return notSigned()
}

/** @throws PosternError TIMED_OUT for what is not there any more; the error itself otherwise */
function notSigned(error?: unknown): never {
  if (error !== undefined && !(PosternError.is(error) && error.code === 'NOT_FOUND')) throw error
  throw new PosternError('TIMED_OUT', 'nobody signed the key of this machine in time', {
    next: 'Log in again, and run postern tunnel sign where the tunnel’s identity is.',
  })
}
