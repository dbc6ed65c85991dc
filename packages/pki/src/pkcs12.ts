import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { PosternError } from '@postern/interface'
import { type KeyAndCertificate, writePem } from './pem.ts'

type Forge = typeof import('node-forge')
type Bag = import('node-forge').pkcs12.Bag
type Asn1 = import('node-forge').asn1.Asn1

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
  const file = parse(forge, bytes)
  // Files “without a passphrase” have been written in both ways.
  for (const word of passphrase === undefined ? [undefined, ''] : [passphrase]) {
    const opened = tryToOpen(forge, file, word) ?? tryWithoutCode(forge, file, word)
    if (opened) return opened
  }
  const state = passphrase === undefined ? 'is missing' : 'is wrong'
  throw new PosternError('AUTH_REJECTED', `the passphrase of the PKCS#12 file ${state}`, {
    next: 'Give its passphrase; openssl pkcs12 -info -noout shows whether it is right.',
  })
}

function parse(forge: Forge, bytes: Uint8Array): Asn1 {
  try {
    return forge.asn1.fromDer(Buffer.from(bytes).toString('latin1'))
  } catch (cause) {
    throw refused('is not PKCS#12', cause)
  }
}

const BEYOND_ASCII = /[^\0-\x7f]/

/** @returns undefined when the passphrase is not the file’s */
function tryToOpen(forge: Forge, file: Asn1, word: string | undefined): readonly Bag[] | undefined {
  try {
    const opened =
      word === undefined ? forge.pkcs12.pkcs12FromAsn1(file, false) : forge.pkcs12.pkcs12FromAsn1(file, false, word)
    return opened.safeContents.flatMap(one => one.safeBags)
  } catch (cause) {
    // It has no codes for what is wrong. Without a code over the file, a wrong passphrase is what does not decrypt.
    const message = cause instanceof Error ? cause.message : ''
    const isFile = !/PFX/.test(message)
    const hasCode = file.value.length > 2
    const mayBeWrong = !hasCode || /MAC could not be verified/.test(message) || BEYOND_ASCII.test(word ?? '')
    if (isFile && mayBeWrong) return undefined
    throw refused('cannot be read', cause)
  }
}

/** The code over a file is made with UTF-16, today’s ciphers are keyed with UTF-8; forge takes a word for both as it is. */
function tryWithoutCode(forge: Forge, file: Asn1, word = ''): readonly Bag[] | undefined {
  if (!BEYOND_ASCII.test(word) || !Array.isArray(file.value)) return undefined
  return tryToOpen(forge, { ...file, value: file.value.slice(0, 2) }, forge.util.encodeUtf8(word))
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

function derOf(forge: Forge, value: Asn1): Buffer {
  return Buffer.from(forge.asn1.toDer(value).getBytes(), 'latin1')
}

function refused(why: string, cause?: unknown): PosternError {
  return new PosternError('FILE_UNREADABLE', `the PKCS#12 file ${why}`, {
    cause,
    next: 'Give a file with one key and its certificate; openssl pkcs12 -info shows what is in it.',
  })
}
