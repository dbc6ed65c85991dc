import { createPrivateKey, createPublicKey } from 'node:crypto'
import { PosternError } from '@postern/interface'
import { contentOf, type Element, elementsIn, rawOf, TAG, wholeElement } from './der.ts'
import { isSignedBy, readPublicKey } from './keys.ts'
import { checkCommonName } from './names.ts'
import { readPem, writePem } from './pem.ts'

const LABEL = 'CERTIFICATE REQUEST'
const MOST_LENGTH = 16 * 1024

/**
 * Makes a request for a certificate (PKCS#10, RFC 2986).
 *
 * @param key PKCS#8 PEM; it signs, and is not in the request
 * @param subject what people may read in it; issuers here take only the key
 * @returns PEM
 */
export async function createCertificateRequest(
  key: string,
  subject: { readonly commonName?: string } = {},
): Promise<string> {
  const { signRequest } = await import('./structures.ts')
  const privateKey = createPrivateKey(key)
  const commonName = subject.commonName === undefined ? undefined : checkCommonName(subject.commonName)
  return writePem(await signRequest(privateKey, createPublicKey(privateKey), commonName), LABEL)
}

/**
 * Reads a request: that who made it has the key is proved by its signature. All else that it asks for is passed over.
 *
 * @param pem at most 16 KiB
 * @returns SPKI in PEM
 * @throws PosternError BAD_USAGE: not one request, not signed by its own key, or a weak key
 */
export async function readCertificateRequest(pem: string): Promise<{ readonly publicKey: string }> {
  if (pem.length > MOST_LENGTH) throw refused(`is larger than ${MOST_LENGTH / 1024} KiB`)
  // OpenSSL of old, and Windows, write NEW in front of it.
  const found = [...readPem(pem, LABEL), ...readPem(pem, `NEW ${LABEL}`)]
  const [der] = found
  if (!der || found.length > 1) throw refused(`has ${found.length} requests where one is wanted`)
  const parts = takeApart(der)
  const publicKey = readPublicKey(rawOf(der, parts.publicKey), 'the request')
  const signature = { oid: contentOf(der, parts.oid), value: contentOf(der, parts.signature).subarray(1) }
  const isProved = await isSignedBy(publicKey, rawOf(der, parts.body), signature).catch(() => false)
  if (!isProved) throw refused('is not signed by its own key, with SHA-256 or more')
  return { publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString() }
}

/** CertificationRequest: body, algorithm, signature. The body: version, subject, key, attributes. */
function takeApart(der: Uint8Array): Record<'body' | 'oid' | 'signature' | 'publicKey', Element> {
  try {
    const [body, algorithm, signature, ...rest] = elementsIn(der, wholeElement(der))
    const [oid] = algorithm ? elementsIn(der, algorithm) : []
    const [version, , publicKey] = body ? elementsIn(der, body) : []
    const isWhole = version?.tag === TAG.integer && signature?.tag === TAG.bitString && rest.length === 0
    if (isWhole && body && oid && publicKey) return { body, oid, signature, publicKey }
  } catch (cause) {
    throw refused('is not PKCS#10', cause)
  }
  throw refused('is not PKCS#10')
}

function refused(why: string, cause?: unknown): PosternError {
  return new PosternError('BAD_USAGE', `the certificate request ${why}`, {
    cause,
    next: 'Make one with: postern cert request, or openssl req -new.',
  })
}
