import { X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import type { Presented } from '@postern/interface'

/** What whoever connects to a hostname is asked for: a certificate of one of these CAs. */
export interface CertificateRule {
  /** The same text for the same set of CA certificates, and for no other. */
  readonly key: string
  /** The CA certificates, PEM, one each. */
  readonly certificates: readonly string[]
}

/** A daemon at the team domain: asked for a certificate, which is compared with those that were enrolled. No CA vouches for it. */
export const CONNECTOR: CertificateRule = { key: 'connector', certificates: [] }

export type PeerCertificate = Pick<Presented, 'peerCertificate' | 'peerCertificateError' | 'peerCertificateChain'>

/** What a TLS connection was made under. It holds until the connection ends: there is no renegotiation. */
export interface Handshake {
  /** That OpenSSL read; undefined where none was named, and for a session of TLS 1.2 that was resumed. */
  readonly hostname: string | undefined
  readonly rule: CertificateRule | undefined
  /** Undefined where none was shown. */
  readonly certificate: PeerCertificate | undefined
}

/** Certificates that are looked at of those a client sends, and signatures that are. Who needs more has no chain. */
const MOST_SENT = 8
const MOST_SIGNATURES = 32

/** The certificate whose key the client proved, and what became of it with the rule's CAs. */
export function peerCertificateOf(socket: TLSSocket, rule: CertificateRule): PeerCertificate | undefined {
  const leaf = socket.getPeerX509Certificate()
  if (leaf === undefined) return undefined
  const chain = chainOf(leaf, authoritiesOf(rule)).map(one => one.raw)
  const found = { peerCertificate: leaf.raw, peerCertificateChain: chain }
  return socket.authorized
    ? found
    : { ...found, peerCertificateError: String(socket.authorizationError ?? 'UNSPECIFIED') }
}

/**
 * The certificates above a leaf, a CA of the rule last, by signatures alone: whether they are good is OpenSSL's to say, and what
 * Node shows as a chain is put together by names, so that whoever sends a certificate of the right name could choose the CA.
 * From the CAs down: a key is used when what is above vouches for it, so nobody has us compute with one of their choosing. Of two
 * with one key, as where a CA was renewed, it is the one that is valid now, as with OpenSSL.
 */
function chainOf(leaf: X509Certificate, authorities: readonly X509Certificate[]): readonly X509Certificate[] {
  const now = Date.now()
  const below = new Set(validFirst(sentWith(leaf), now))
  const vouched = new Map(validFirst(authorities, now).map(one => [one, [one]]))
  let signatures = MOST_SIGNATURES
  const isIssued = (one: X509Certificate, by: X509Certificate) =>
    one.checkIssued(by) && --signatures >= 0 && isSigned(one, by)
  for (const [by, chain] of vouched) {
    if (isIssued(leaf, by)) return chain
    for (const one of below) {
      if (!one.ca || !isIssued(one, by)) continue
      below.delete(one)
      vouched.set(one, [one, ...chain])
    }
  }
  return []
}

function validFirst(all: readonly X509Certificate[], now: number): readonly X509Certificate[] {
  const isValid = ({ validFromDate, validToDate }: X509Certificate) =>
    validFromDate.getTime() <= now && now < validToDate.getTime()
  return [...all].sort((one, other) => Number(isValid(other)) - Number(isValid(one)))
}

function isSigned(one: X509Certificate, by: X509Certificate): boolean {
  try {
    return one.verify(by.publicKey)
  } catch {
    // A kind of key that nobody here knows.
    return false
  }
}

/** What was sent behind the leaf, in order. */
function sentWith(leaf: X509Certificate): readonly X509Certificate[] {
  const sent: X509Certificate[] = []
  for (let one = leaf.issuerCertificate; one !== undefined && sent.length < MOST_SENT; one = one.issuerCertificate)
    sent.push(one)
  return sent
}

const READ = new WeakMap<CertificateRule['certificates'], readonly X509Certificate[]>()

/** One that nobody can read is nobody's CA. */
function authoritiesOf({ certificates }: CertificateRule): readonly X509Certificate[] {
  const read = READ.get(certificates) ?? certificates.flatMap(pem => readOne(pem) ?? [])
  READ.set(certificates, read)
  return read
}

function readOne(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem)
  } catch {
    return undefined
  }
}
