import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type TLSSocket } from 'node:tls'
import type { Credential, Presented } from '@postern/interface'
import { testAuthority } from '../certificates.ts'
import { within } from '../expect.ts'
import { memoryPair } from '../memory-pair.ts'

type Proved = Pick<Presented, 'peerCertificate' | 'peerCertificateError' | 'peerCertificateChain'>

/** A handshake in which the certificate's key is proved, and OpenSSL says what it thinks of it. @param authorities PEM */
export async function prove(
  { cert, key }: NonNullable<Credential['tls']>,
  authorities: readonly string[],
): Promise<Proved> {
  const own = testAuthority('Postern compliance kit, the edge')
  const [here, there] = memoryPair()
  const server = createServer({
    ...own.issue({ commonName: 'edge' }),
    ca: [...authorities],
    allowPartialTrustChain: true,
    requestCert: true,
    rejectUnauthorized: false,
  })
  const secured = once(server, 'secureConnection') as Promise<[TLSSocket]>
  server.emit('connection', there)
  const client = connect({ socket: here, cert, key, ca: own.ca, checkServerIdentity: () => undefined })
  client.on('error', () => {})
  try {
    const [socket] = await within(secured, 'the handshake with the client certificate must end')
    return provedBy(socket, authorities)
  } finally {
    client.destroy()
    there.destroy()
  }
}

function provedBy(socket: TLSSocket, authorities: readonly string[]): Proved {
  socket.on('error', () => {})
  const leaf = socket.getPeerX509Certificate()
  if (leaf === undefined) throw new Error('the client showed no certificate')
  const { authorized, authorizationError = 'UNSPECIFIED' } = socket
  return {
    peerCertificate: new Uint8Array(leaf.raw),
    ...(!authorized && { peerCertificateError: String(authorizationError) }),
    peerCertificateChain: chainOf(leaf, authorities),
  }
}

/** Those above it as they were sent, up to the first that is of one of the CAs; none where none is. */
function chainOf(leaf: X509Certificate, authorities: readonly string[]): readonly Uint8Array[] {
  const known = authorities.map(pem => new X509Certificate(pem))
  const chain: Uint8Array[] = []
  for (let one: X509Certificate | undefined = leaf; one !== undefined; one = one.issuerCertificate) {
    if (one !== leaf) chain.push(new Uint8Array(one.raw))
    const below: X509Certificate = one
    const ca = known.find(by => below.checkIssued(by) && below.verify(by.publicKey))
    if (ca !== undefined) return [...chain, new Uint8Array(ca.raw)]
  }
  return []
}
