import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { PosternError } from '@postern/interface'
import { type KeyAndCertificate, writePem } from './pem.ts'

type Forge = typeof import('node-forge')
type Bag = import('node-forge').pkcs12.Bag

const MOST_BYTES = 1024 * 1024

/**
 * Reads a PKCS#12 file (`.p12`, `.pfx`; RFC 7292), with today’s ciphers or those of old (RC2, 3DES).
 *
 * @param passphrase undefined is tried as none and as an empty one
 * @returns the key, its certificate with those between it and its root, and all other certificates of the file
 * @throws PosternError AUTH_REJECTED: a wrong passphrase. FILE_UNREADABLE: not such a file; no key in it, or several; no
 *   certificate of the key
 */
export async function readPkcs12(
  bytes: Uint8Array,
  passphrase: string | undefined,
): Promise<KeyAndCertificate & { readonly ca: readonly string[] }> {
  if (bytes.length > MOST_BYTES) throw refused('is larger than 1 MiB')
  const forge = (await import('node-forge')).default
  const bags = open(forge, bytes, passphrase)
  const keys = [forge.pki.oids.pkcs8ShroudedKeyBag, forge.pki.oids.keyBag].flatMap(type =>
    ofType(bags, type).map(bag => keyOf(forge, bag)),
  )
  const [key] = keys
  if (!key || keys.length > 1) throw refused(`has ${keys.length} keys where one is wanted`)
  const certificates = ofType(bags, forge.pki.oids.certBag).map(bag => certificateOf(forge, bag))
  const leaf = certificates.find(one => one.checkPrivateKey(key))
  if (!leaf) throw refused('has no certificate of its key')
  const chain = chainOf(leaf, certificates)
  return {
    cert: chain.map(pemOf).join(''),
    key: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
    ca: certificates.filter(one => !chain.includes(one)).map(pemOf),
  }
}

/** The leaf, then who issued it, and so on: without a root, which the other side has or does not believe. */
function chainOf(leaf: X509Certificate, certificates: readonly X509Certificate[]): readonly X509Certificate[] {
  const chain = [leaf]
  for (let last: X509Certificate | undefined = leaf; last; ) {
    const below: X509Certificate = last
    last = certificates.find(one => !chain.includes(one) && below.checkIssued(one) && !one.checkIssued(one))
    if (last) chain.push(last)
  }
  return chain
}

function pemOf(certificate: X509Certificate): string {
  return writePem(certificate.raw, 'CERTIFICATE')
}

/** All bags of the file. */
function open(forge: Forge, bytes: Uint8Array, passphrase: string | undefined): readonly Bag[] {
  const content = parse(forge, bytes)
  // Files “without a passphrase” have been written in both ways.
  const tries = passphrase === undefined ? [undefined, ''] : [passphrase]
  for (const attempt of tries) {
    const opened = tryToOpen(forge, content, attempt)
    if (opened) return opened
  }
  throw new PosternError(
    'AUTH_REJECTED',
    `the passphrase of the PKCS#12 file ${passphrase === undefined ? 'is missing' : 'is wrong'}`,
    {
      next: 'Give its passphrase; openssl pkcs12 -info -noout shows whether it is right.',
    },
  )
}

function parse(forge: Forge, bytes: Uint8Array): import('node-forge').asn1.Asn1 {
  try {
    return forge.asn1.fromDer(Buffer.from(bytes).toString('latin1'))
  } catch (cause) {
    throw refused('is not PKCS#12', cause)
  }
}

function tryToOpen(
  forge: Forge,
  content: import('node-forge').asn1.Asn1,
  passphrase: string | undefined,
): readonly Bag[] | undefined {
  try {
    const opened =
      passphrase === undefined
        ? forge.pkcs12.pkcs12FromAsn1(content, false)
        : forge.pkcs12.pkcs12FromAsn1(content, false, passphrase)
    return opened.safeContents.flatMap(one => one.safeBags)
  } catch (cause) {
    // It has no codes; a wrong passphrase is found by the code over all, or, without one, by what does not decrypt.
    if (cause instanceof Error && /password|MAC could not be verified|decrypt/i.test(cause.message)) return undefined
    throw refused('cannot be read', cause)
  }
}

function ofType(bags: readonly Bag[], type: string | undefined): readonly Bag[] {
  return bags.filter(bag => bag.type === type)
}

/** What forge has no type for (EC) it leaves as it found it. */
function keyOf(forge: Forge, bag: Bag): KeyObject {
  try {
    const info = bag.key ? forge.pki.wrapRsaPrivateKey(forge.pki.privateKeyToAsn1(bag.key)) : bag.asn1
    return createPrivateKey({ key: derOf(forge, info), format: 'der', type: 'pkcs8' })
  } catch (cause) {
    throw refused('has a key that cannot be read', cause)
  }
}

function certificateOf(forge: Forge, bag: Bag): X509Certificate {
  try {
    return new X509Certificate(derOf(forge, bag.cert ? forge.pki.certificateToAsn1(bag.cert) : bag.asn1))
  } catch (cause) {
    throw refused('has a certificate that cannot be read', cause)
  }
}

function derOf(forge: Forge, value: import('node-forge').asn1.Asn1): Buffer {
  return Buffer.from(forge.asn1.toDer(value).getBytes(), 'latin1')
}

function refused(why: string, cause?: unknown): PosternError {
  return new PosternError('FILE_UNREADABLE', `the PKCS#12 file ${why}`, {
    cause,
    next: 'Give a file with one key and its certificate; openssl pkcs12 -info shows what is in it.',
  })
}
