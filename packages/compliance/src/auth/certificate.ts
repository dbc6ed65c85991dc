import assert from 'node:assert/strict'
import type { Call, Presented } from '@postern/interface'
import { type Case, testCase } from '../case.ts'
import { leafOf, testAuthority } from '../certificates.ts'
import { type AuthSubject, type Verifying, withVerifier } from './edge-rig.ts'
import { letsNobodyIn } from './hostile.ts'
import { withHeader, withoutCertificate } from './presenting.ts'

/** A client certificate is what the socket proved and OpenSSL found good, for the CAs of the hostname. Nothing else is one. */
export function certificateCases(subject: AuthSubject): readonly Case[] {
  const verified = (name: string, body: (verifying: Verifying, call: Call) => Promise<void>): Case =>
    testCase(`edge: ${name}`, call => withVerifier(subject, call, 'good', verifying => body(verifying, call)))
  return [
    verified('a certificate that OpenSSL does not find good lets nobody in', async ({ verify, presented }) => {
      assert.equal(presented.peerCertificateError, undefined, 'clientOptions must be of a certificate that is good')
      for (const peerCertificateError of ERRORS)
        await letsNobodyIn(verify({ ...presented, peerCertificateError }), peerCertificateError)
    }),
    verified('a certificate of another CA lets nobody in', async ({ verify, presented }) => {
      const { peerCertificateChain: _, ...without } = presented
      await letsNobodyIn(verify(without), 'without a chain')
      await letsNobodyIn(verify({ ...presented, peerCertificateChain: [] }), 'with a chain that is empty')
      const ca = new Uint8Array(leafOf(testAuthority().ca))
      await letsNobodyIn(verify({ ...presented, peerCertificateChain: [ca] }), 'under a CA that the edge does not know')
    }),
    verified('a certificate in a header, or above the leaf, is nobody’s', async ({ verify, presented }) => {
      const { peerCertificate = new Uint8Array(), peerCertificateChain: chain = [] } = presented
      const absent = withoutCertificate(presented)
      const encoded = Buffer.from(peerCertificate).toString('base64')
      for (const [name, value] of headersWith(encoded))
        await letsNobodyIn(verify(withHeader(absent, name, [value])), `in the header ${name}`)
      const good = await verify(presented)
      const stranger = leafOf(testAuthority().issue({ commonName: 'stranger' }).cert)
      const stuffed: Presented = {
        ...presented,
        peerCertificate: stranger,
        peerCertificateChain: [peerCertificate, ...chain],
        peerCertificateError: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      }
      await letsNobodyIn(verify(stuffed), 'above a stranger’s leaf')
      const { peerCertificateError: _, ...believed } = stuffed
      const verdict = await verify(believed).catch(() => undefined)
      const [mine, theirs] = [good, verdict].map(one => (one && 'identity' in one ? one.identity.subject : undefined))
      assert.notEqual(theirs, mine, 'the identity is of a certificate whose key was not proved')
    }),
    verified('what is no certificate lets nobody in, and breaks nothing', async ({ verify, presented }) => {
      const { peerCertificate: der = new Uint8Array(), peerCertificateChain: chain = [] } = presented
      for (const [what, bytes] of Object.entries(notCertificates(der))) {
        await letsNobodyIn(verify({ ...presented, peerCertificate: bytes }), `as the leaf: ${what}`)
        await letsNobodyIn(verify({ ...presented, peerCertificateChain: [bytes, ...chain] }), `above it: ${what}`)
        await letsNobodyIn(verify({ ...presented, peerCertificateChain: [bytes] }), `as the CA: ${what}`)
      }
      const verdict = await verify(presented)
      assert.ok(verdict && 'identity' in verdict, 'after all that the good certificate must still be accepted')
    }),
  ]
}

const ERRORS = [
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_REVOKED',
  'INVALID_PURPOSE',
  'INVALID_CA',
  'PATH_LENGTH_EXCEEDED',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'CERT_SIGNATURE_FAILURE',
  'UNSPECIFIED',
  '',
]

/** As proxies tell their origins of a certificate (RFC 9440, Envoy, nginx, Azure). */
function headersWith(encoded: string): readonly (readonly [name: string, value: string])[] {
  return [
    ['client-cert', `:${encoded}:`],
    ['x-forwarded-client-cert', `Hash=x;Cert="${encodeURIComponent(encoded)}"`],
    ['x-ssl-client-verify', 'SUCCESS'],
    ['x-ssl-client-cert', encoded],
    ['ssl-client-cert', encoded],
    ['x-arr-clientcert', encoded],
  ]
}

function notCertificates(der: Uint8Array): Readonly<Record<string, Uint8Array>> {
  return {
    'no bytes': new Uint8Array(),
    zeros: new Uint8Array(64),
    'half of one': der.subarray(0, Math.floor(der.length / 2)),
    'one, and a byte': Uint8Array.from([...der, 0]),
    text: new TextEncoder().encode('-----BEGIN CERTIFICATE-----'),
    'a megabyte': new Uint8Array(1_048_576).fill(0x30),
    'lengths without end': Uint8Array.from([0x30, 0x84, 0xff, 0xff, 0xff, 0xff]),
  }
}
