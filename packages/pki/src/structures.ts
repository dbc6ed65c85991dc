// The one door to the library of ASN.1 structures. It takes 40 ms to load: import this file inside functions.
import { createHash, type KeyObject } from 'node:crypto'
import { Attributes, CertificationRequest, CertificationRequestInfo } from '@peculiar/asn1-csr'
import { AsnConvert, OctetString } from '@peculiar/asn1-schema'
import {
  AlgorithmIdentifier,
  AttributeTypeAndValue,
  AttributeValue,
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate,
  ExtendedKeyUsage,
  Extension,
  Extensions,
  GeneralName,
  id_ce_authorityKeyIdentifier,
  id_ce_basicConstraints,
  id_ce_extKeyUsage,
  id_ce_keyUsage,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  id_kp_clientAuth,
  id_kp_serverAuth,
  KeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  Name,
  RelativeDistinguishedName,
  SubjectAlternativeName,
  SubjectKeyIdentifier,
  SubjectPublicKeyInfo,
  TBSCertificate,
  Validity,
  Version,
} from '@peculiar/asn1-x509'
import { signatureAlgorithmOf, signBytes } from './keys.ts'
import type { SubjectName } from './names.ts'

/** Everything a certificate says, but for who issues it. */
export interface Content {
  readonly serial: Uint8Array
  readonly publicKey: KeyObject
  readonly commonName: string | undefined
  readonly names: readonly SubjectName[]
  /** Milliseconds since the epoch. */
  readonly notBefore: number
  readonly notAfter: number
  /** A CA, with how many CAs may stand below it; else it may sign nothing. */
  readonly ca?: { readonly pathLength: number }
  readonly purpose?: 'client' | 'server' | 'both'
}

/** Who signs: a CA by its certificate, or by its name where it signs itself. */
export interface Issuer {
  /** DER; undefined when the certificate is signed by its own key. */
  readonly certificate?: Uint8Array
  readonly key: KeyObject
}

/** What of a CA’s certificate decides how it may be used. */
export interface AuthorityExtensions {
  readonly pathLength: number | undefined
  /** Whether it may sign revocation lists: that it may sign certificates is OpenSSL’s to say. */
  readonly signsLists: boolean
}

/** @returns DER */
export async function signCertificate(content: Content, issuer: Issuer): Promise<Uint8Array> {
  const subject = nameOf(content.commonName)
  const above = issuer.certificate && AsnConvert.parse(issuer.certificate, Certificate).tbsCertificate
  const ownId = keyIdOf(content.publicKey)
  const body = new TBSCertificate({
    version: Version.v3,
    serialNumber: bufferOf(content.serial),
    signature: algorithmOf(issuer.key),
    issuer: above?.subject ?? subject,
    validity: new Validity({ notBefore: new Date(content.notBefore), notAfter: new Date(content.notAfter) }),
    subject,
    subjectPublicKeyInfo: infoOf(content.publicKey),
    extensions: new Extensions(extensionsOf(content, ownId, above ? subjectKeyIdOf(above) : ownId)),
  })
  const signature = await signBytes(issuer.key, new Uint8Array(AsnConvert.serialize(body)))
  return serialized(
    new Certificate({ tbsCertificate: body, signatureAlgorithm: body.signature, signatureValue: bufferOf(signature) }),
  )
}

/** @returns DER of a PKCS#10 request (RFC 2986) */
export async function signRequest(
  key: KeyObject,
  publicKey: KeyObject,
  commonName: string | undefined,
): Promise<Uint8Array> {
  const body = new CertificationRequestInfo({
    subject: nameOf(commonName),
    subjectPKInfo: infoOf(publicKey),
    attributes: new Attributes(),
  })
  const signature = await signBytes(key, new Uint8Array(AsnConvert.serialize(body)))
  return serialized(
    new CertificationRequest({
      certificationRequestInfo: body,
      signatureAlgorithm: algorithmOf(key),
      signature: bufferOf(signature),
    }),
  )
}

/** @throws Error when it is no certificate */
export function readAuthorityExtensions(der: Uint8Array): AuthorityExtensions {
  const { extensions } = AsnConvert.parse(der, Certificate).tbsCertificate
  const constraints = extensions?.find(one => one.extnID === id_ce_basicConstraints)
  const usage = extensions?.find(one => one.extnID === id_ce_keyUsage)
  return {
    pathLength: constraints && AsnConvert.parse(constraints.extnValue.buffer, BasicConstraints).pathLenConstraint,
    signsLists: !usage || (AsnConvert.parse(usage.extnValue.buffer, KeyUsage).toNumber() & KeyUsageFlags.cRLSign) !== 0,
  }
}

function extensionsOf(content: Content, ownId: ArrayBuffer, issuerId: ArrayBuffer | undefined): Extension[] {
  const { ca, purpose, names, commonName, publicKey } = content
  const extensions = [
    extension(id_ce_basicConstraints, basicConstraints(ca), true),
    extension(id_ce_keyUsage, new KeyUsage(keyUsage(content, publicKey)), true),
    extension(id_ce_subjectKeyIdentifier, new SubjectKeyIdentifier(ownId)),
  ]
  if (issuerId) {
    const identifier = new AuthorityKeyIdentifier({ keyIdentifier: new KeyIdentifier(issuerId) })
    extensions.push(extension(id_ce_authorityKeyIdentifier, identifier))
  }
  if (purpose) {
    const ids = { client: [id_kp_clientAuth], server: [id_kp_serverAuth], both: [id_kp_clientAuth, id_kp_serverAuth] }
    extensions.push(extension(id_ce_extKeyUsage, new ExtendedKeyUsage(ids[purpose])))
  }
  // RFC 5280 §4.2.1.6: critical where nothing else names the subject.
  if (names.length > 0) {
    const alternatives = new SubjectAlternativeName(names.map(generalName))
    extensions.push(extension(id_ce_subjectAltName, alternatives, commonName === undefined))
  }
  return extensions
}

function basicConstraints(ca: Content['ca']): BasicConstraints {
  return new BasicConstraints(ca ? { cA: true, pathLenConstraint: ca.pathLength } : {})
}

function keyUsage({ ca, purpose }: Content, key: KeyObject): number {
  if (ca) return KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign
  // TLS 1.2 without a Diffie-Hellman encrypts to the server’s RSA key.
  const enciphers = purpose === 'server' && key.asymmetricKeyType === 'rsa'
  return KeyUsageFlags.digitalSignature | (enciphers ? KeyUsageFlags.keyEncipherment : 0)
}

const MEMBER = { dns: 'dNSName', email: 'rfc822Name', uri: 'uniformResourceIdentifier', ip: 'iPAddress' } as const

function generalName({ type, value }: SubjectName): GeneralName {
  return new GeneralName({ [MEMBER[type]]: value })
}

function extension(id: string, value: object, critical = false): Extension {
  return new Extension({ extnID: id, critical, extnValue: new OctetString(AsnConvert.serialize(value)) })
}

const COMMON_NAME = '2.5.4.3'

function nameOf(commonName: string | undefined): Name {
  if (commonName === undefined) return new Name()
  const value = new AttributeValue({ utf8String: commonName })
  return new Name([new RelativeDistinguishedName([new AttributeTypeAndValue({ type: COMMON_NAME, value })])])
}

function infoOf(publicKey: KeyObject): SubjectPublicKeyInfo {
  return AsnConvert.parse(publicKey.export({ type: 'spki', format: 'der' }), SubjectPublicKeyInfo)
}

/** RFC 5280 §4.2.1.2 (1): SHA-1 of the key’s bits. It only helps to find it. */
function keyIdOf(publicKey: KeyObject): ArrayBuffer {
  const bits = new Uint8Array(infoOf(publicKey).subjectPublicKey)
  return bufferOf(createHash('sha1').update(bits).digest())
}

/** What the CA calls its key, which need not be its hash; nothing where it calls it nothing. */
function subjectKeyIdOf({ extensions }: TBSCertificate): ArrayBuffer | undefined {
  const found = extensions?.find(one => one.extnID === id_ce_subjectKeyIdentifier)
  return found && AsnConvert.parse(found.extnValue.buffer, SubjectKeyIdentifier).buffer
}

function algorithmOf(key: KeyObject): AlgorithmIdentifier {
  const { oid, hasNull } = signatureAlgorithmOf(key)
  return new AlgorithmIdentifier({ algorithm: oid, ...(hasNull && { parameters: null }) })
}

function serialized(structure: object): Uint8Array {
  return new Uint8Array(AsnConvert.serialize(structure))
}

function bufferOf(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer
}
