import { keyFingerprint } from '@postern/connector'
import type { Credentials } from '@postern/connector/files'
import { createConnector, createIdentity, signConnector } from '@postern/connector/issue'
import type { RunningEdge } from '@postern/edge'

/** What a daemon has of its edge. */
export interface Enrolled {
  readonly token: string
  /** What `posternd login` would leave in a file. */
  readonly credentials?: Credentials
  /** `sha256:…` of the tunnel's key. */
  readonly pin?: string
}

/** A tunnel, and a daemon for it: with a token alone, which serves only through the edge, or as after `posternd login`. */
export async function enrol(
  { administration, team }: RunningEdge,
  tunnel: string,
  ca: string,
  endToEnd: boolean,
): Promise<Enrolled> {
  const params = { name: tunnel }
  if (!endToEnd) {
    await administration.call('tunnel.create', { body: { name: tunnel } })
    return { token: (await administration.call('tunnel-token.create', { params, body: {} })).token }
  }
  const identity = await createIdentity(tunnel)
  await administration.call('tunnel.create', { body: { name: tunnel, identity: identity.cert } })
  const { id: connector, key, publicKey, host } = await createConnector()
  const certificate = await signConnector(identity, tunnel, { id: connector, publicKey })
  const { token, grantKeys } = await administration.call('connector.enrol', { params, body: { certificate, host } })
  const keys = { certificate, key, identity: identity.cert, ...(grantKeys && { grantKeys }) }
  const credentials: Credentials = { version: 1, edge: team, ca, tunnel, connector, token, ...keys }
  return { token, credentials, pin: keyFingerprint(identity.key) }
}
