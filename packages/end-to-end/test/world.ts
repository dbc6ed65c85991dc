import { createPrivateKey, createPublicKey, randomUUID } from 'node:crypto'
import type { Call, Pipe } from '@postern/interface'
import { createAuthority, issueCertificate, type KeyAndCertificate, makeKey } from '@postern/pki'
import { type MemoryEnd, memoryPair, type PairOptions, recordingLog } from '@postern/testkit'
import { connectorUri, keyFingerprint, setupUri } from '../src/index.ts'
import { makeSessionKey, type SessionKey } from '../src/session-key.ts'
import { daemonContext, secureAsClient, secureAsDaemon, type WantedDaemon } from '../src/tls.ts'

export const log = recordingLog()
export const call: Call = { signal: AbortSignal.timeout(60_000), log }

/** A tunnel with one of its daemons. */
export interface TestTunnel {
  readonly name: string
  readonly identity: KeyAndCertificate
  readonly connector: string
  readonly certificate: string
  readonly authority?: string
  readonly key: string
  readonly wanted: WantedDaemon
}

export async function testTunnel(
  name = 'home',
  more: { readonly identity?: KeyAndCertificate; readonly seconds?: number; readonly connector?: string } = {},
): Promise<TestTunnel> {
  const { identity = await createAuthority({ commonName: `postern tunnel ${name}`, days: 30, pathLength: 1 }) } = more
  const key = await makeKey()
  const { connector = randomUUID() } = more
  const { cert } = await issueCertificate(identity, {
    publicKey: createPublicKey(createPrivateKey(key)).export({ type: 'spki', format: 'pem' }).toString(),
    commonName: `postern connector ${name}`,
    san: [{ type: 'uri', value: connectorUri(name, connector) }],
    seconds: more.seconds ?? 86_400,
    usage: 'connector',
  })
  const wanted = { identity: identity.cert, pin: keyFingerprint(identity.key), tunnel: name, connector }
  return { name, identity, connector, certificate: cert, key, wanted }
}

/** A daemon that a setup token logged in: its certificate is signed by an authority, which the identity signed, or whoever `by` is. */
export async function setupTunnel(
  identity: KeyAndCertificate,
  more: {
    readonly by?: KeyAndCertificate
    /** Of the authority; default: this daemon's. */
    readonly uri?: string
    readonly seconds?: number
  } = {},
): Promise<TestTunnel> {
  const { by = identity, seconds = 86_400 } = more
  const connector = randomUUID()
  const authority = await authorityBy(by, more.uri ?? setupUri('home', connector), seconds)
  const made = await testTunnel('home', { identity: authority, connector, seconds })
  const wanted = { ...made.wanted, identity: identity.cert, pin: keyFingerprint(identity.key) }
  return { ...made, identity, authority: authority.cert, wanted }
}

export async function authorityBy(
  by: KeyAndCertificate,
  uri: string,
  seconds = 86_400,
  known?: string,
): Promise<KeyAndCertificate> {
  const key = known ?? (await makeKey())
  const { cert } = await issueCertificate(by, {
    publicKey: createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString(),
    commonName: 'postern setup home',
    san: [{ type: 'uri', value: uri }],
    seconds,
    usage: 'connector-authority',
  })
  return { cert, key }
}

export interface Joined {
  /** What the two get. */
  readonly client: Pipe
  readonly daemon: Pipe
  /** What the daemon saw proved. */
  readonly proved: string
  readonly key: SessionKey
  /** The pipe below each of them. */
  readonly clientEnd: MemoryEnd
  readonly daemonEnd: MemoryEnd
}

/** Both ends at once, over one pipe of memory. */
export async function join(tunnel: TestTunnel, wanted = tunnel.wanted, options: PairOptions = {}): Promise<Joined> {
  const [clientEnd, daemonEnd] = memoryPair(options)
  const key = await makeSessionKey()
  const [client, daemon] = await Promise.all([
    secureAsClient(clientEnd, wanted, key, call),
    secureAsDaemon(daemonEnd, daemonContext(tunnel), call),
  ])
  return { client, daemon: daemon.pipe, proved: daemon.client, key, clientEnd, daemonEnd }
}
