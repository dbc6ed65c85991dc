import type { Identity, Json } from '@postern/interface'
import type { Facts } from '@postern/policy'

type Names = string | readonly string[] | undefined

/** What is known of a certificate, under the names that rules have for it. */
export interface ShownCertificate {
  readonly ca?: string | undefined
  readonly commonName?: string | undefined
  readonly dns?: Names
  readonly email?: Names
  readonly uri?: Names
  readonly ip?: Names
  readonly fingerprint?: string | undefined
  readonly issuer?: string | undefined
}

/** Who asks for what, as a command or a case says it. Nobody at all is somebody who is not identified. */
export interface Asked {
  /** A person, by the address their provider vouches for. */
  readonly user?: string | undefined
  /** A service token, as the rules name it. */
  readonly serviceToken?: string | undefined
  /** A service of another scheme, by its subject. */
  readonly service?: string | undefined
  /** The issuer of the person or the other service. */
  readonly provider?: string | undefined
  /** A client certificate, by what it says; what is left out it does not say. */
  readonly certificate?: ShownCertificate | undefined
  readonly subject?: string | undefined
  /** Absent: the provider does not say. */
  readonly groups?: readonly string[] | undefined
  readonly claims?: Readonly<Record<string, Json>> | undefined
  readonly address?: string | undefined
  /** Either makes it a single HTTP request; without both it is access to a protocol. */
  readonly path?: string | undefined
  readonly method?: string | undefined
}

/** What no provider is called: rules about one do not match where none was said. */
const UNNAMED = 'postern:unnamed'

export function factsOf(asked: Asked, now: number): Facts {
  const { address, path, method } = asked
  return {
    identities: identitiesOf(asked),
    now,
    ...(address !== undefined && { address }),
    ...((path !== undefined || method !== undefined) && { request: { method: method ?? 'GET', path: path ?? '/' } }),
  }
}

function identitiesOf({
  user,
  serviceToken,
  service,
  certificate,
  provider: issuer = UNNAMED,
  subject,
  groups,
  claims = {},
}: Asked): Identity[] {
  const identities: Identity[] = []
  const plain = { claims, revokeKeys: [] }
  if (user !== undefined)
    identities.push({
      ...plain,
      kind: 'user',
      issuer,
      subject: subject ?? user,
      email: user,
      ...(groups && { groups }),
    })
  if (service !== undefined) identities.push({ ...plain, kind: 'service', issuer, subject: service })
  if (serviceToken !== undefined)
    identities.push({
      kind: 'service',
      issuer: 'postern:service-token',
      subject: serviceToken,
      claims: {},
      revokeKeys: [],
    })
  if (certificate !== undefined) identities.push(certificateOf(certificate))
  return identities
}

/** As the edge's verifier would say it. */
function certificateOf({ ca = '', commonName, fingerprint = '', issuer = '', ...names }: ShownCertificate): Identity {
  const all = (given: Names) => [given ?? []].flat()
  const { dns, email, uri, ip } = names
  const san = { dns: all(dns), email: all(email), uri: all(uri), ip: all(ip) }
  return {
    kind: 'certificate',
    issuer: 'postern:mtls',
    subject: `${ca}/certificate`,
    claims: { ca, fingerprint, issuer, san, ...(commonName !== undefined && { commonName }) },
    revokeKeys: [],
  }
}
