// The reference client certificate: known by its fingerprint, of one CA.
import { createHash, X509Certificate } from 'node:crypto'
import { type AuthVerifier, definePlugin, PosternError, type Presented } from '@postern/interface'
import { type AuthKit, testAuthority } from '../../src/index.ts'
import { authEdge } from './auth.ts'

const authority = testAuthority('Reference CA')
const { cert, key } = authority.issue({ commonName: 'reference' })
const CA = new X509Certificate(authority.ca)

export const certificateClient = definePlugin({
  kind: 'auth',
  side: 'client',
  name: 'reference-certificate',
  options: {},
  create: () => ({
    authenticate: async ({ refused }, call) => {
      call.signal.throwIfAborted()
      if (refused) throw new PosternError('AUTH_REJECTED', 'the edge did not accept the certificate')
      return { tls: { cert, key } }
    },
  }),
})

export const verifyCertificate: AuthVerifier['verify'] = async (presented, call) => {
  call.signal.throwIfAborted()
  const { peerCertificate, peerCertificateError, peerCertificateChain: chain = [] } = presented
  if (peerCertificate === undefined || !CA.raw.equals(chain.at(-1) ?? Buffer.of())) return undefined
  if (peerCertificateError !== undefined) throw new PosternError('CERTIFICATE_REJECTED', 'it is not good')
  for (const one of [peerCertificate, ...chain]) read(one)
  return { identity: identityOf(peerCertificate) }
}

export function identityOf(der: Uint8Array) {
  const subject = createHash('sha256').update(der).digest('hex')
  return { kind: 'certificate', issuer: 'test:certificate', subject, claims: {}, revokeKeys: [subject] } as const
}

function read(der: Uint8Array): X509Certificate {
  try {
    const certificate = new X509Certificate(der)
    if (certificate.raw.length === der.length) return certificate
  } catch {}
  throw new PosternError('CERTIFICATE_REJECTED', 'it is no certificate')
}

export const certificateKit = (verify: AuthVerifier['verify'] = verifyCertificate) =>
  ({ client: certificateClient, edge: authEdge(() => verify), authorities: [authority.ca] }) satisfies Partial<
    AuthKit<Record<never, never>, Record<never, never>>
  >

/** Without what OpenSSL held against it. */
export function believing(presented: Presented): Presented {
  const { peerCertificateError: _, ...rest } = presented
  return rest
}
