import type { AuthRequest, Call, Credential, Presented, Purpose } from '@postern/interface'
import { APPLICATION, HOSTNAME, TEAM_DOMAIN } from '../hosts.ts'
import { prove } from './proving.ts'

export type PurposeName = Purpose['purpose']

export function requestFor(purpose: PurposeName): AuthRequest {
  return purpose === 'access' ? { purpose, app: APPLICATION } : { purpose, teamDomain: TEAM_DOMAIN }
}

/**
 * What the edge sees of a credential: lower-case names, every value in a list, the leaf as DER.
 *
 * @param authorities PEM of the CAs that its hostname asks for
 */
export async function present(credential: Credential, authorities: readonly string[], call: Call): Promise<Presented> {
  const headers = await headersOf(credential, call)
  return {
    method: 'GET',
    url: '/',
    headers: { host: [HOSTNAME], 'user-agent': ['compliance'], ...headers },
    remoteAddress: '192.0.2.7',
    ...(credential.tls && (await prove(credential.tls, authorities))),
  }
}

/** The credential's own headers, as they arrive. */
export async function headersOf({ headers }: Credential, call: Call): Promise<Record<string, readonly string[]>> {
  const url = new URL(`https://${HOSTNAME}/`)
  const sent = typeof headers === 'function' ? await headers({ method: 'GET', url }, call) : (headers ?? {})
  return Object.fromEntries(Object.entries(sent).map(([name, values]) => [name.toLowerCase(), [values].flat()]))
}

/** The same request with one header's values replaced. */
export function withHeader(presented: Presented, name: string, values: readonly string[]): Presented {
  return { ...presented, headers: { ...presented.headers, [name]: values } }
}

export function withoutHeaders(presented: Presented, names: readonly string[]): Presented {
  const kept = Object.entries(presented.headers).filter(([name]) => !names.includes(name))
  return { ...withoutCertificate(presented), headers: Object.fromEntries(kept) }
}

export function withoutCertificate(presented: Presented): Presented {
  const { peerCertificate: _, peerCertificateError: _error, peerCertificateChain: _chain, ...rest } = presented
  return rest
}
