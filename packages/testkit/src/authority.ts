import { generateKeyPair, X509Certificate } from 'node:crypto'
import { promisify } from 'node:util'
import forge from 'node-forge'

export interface IssuedCertificate {
  readonly cert: string
  readonly key: string
  /** DER of the certificate. */
  readonly der: Uint8Array
}

export interface Subject {
  readonly commonName: string
  readonly dnsNames?: readonly string[]
  readonly ipAddresses?: readonly string[]
  /** Default `server`. */
  readonly usage?: 'server' | 'client'
  /** Milliseconds since the epoch. Default: an hour ago, and a day from now. */
  readonly notBefore?: number
  readonly notAfter?: number
}

export interface Authority {
  readonly ca: string
  /** The same subject gives the same certificate, once made: keys are slow. */
  issue(subject: Subject): Promise<IssuedCertificate>
}

const HOUR = 3_600_000
const authorities = new Map<string, Promise<Authority>>()
const makeKeys = promisify(generateKeyPair)

/** A CA for this process: RSA 2048, made once a name. */
export function authority(name = 'Postern test CA'): Promise<Authority> {
  const known = authorities.get(name) ?? make(name)
  authorities.set(name, known)
  return known
}

async function make(name: string): Promise<Authority> {
  const keys = await rsaKeys()
  const attributes = [{ name: 'commonName', value: name }]
  const root = blank(keys.publicKey, attributes, attributes, {})
  root.setExtensions([
    { name: 'basicConstraints', critical: true, cA: true },
    { name: 'keyUsage', critical: true, keyCertSign: true, cRLSign: true },
  ])
  const signer = forge.pki.privateKeyFromPem(keys.privateKey)
  root.sign(signer, forge.md.sha256.create())
  const issued = new Map<string, Promise<IssuedCertificate>>()
  const issue = async (subject: Subject): Promise<IssuedCertificate> => {
    const own = await rsaKeys()
    const leaf = blank(own.publicKey, [{ name: 'commonName', value: subject.commonName }], attributes, subject)
    leaf.setExtensions(leafExtensions(subject))
    leaf.sign(signer, forge.md.sha256.create())
    const cert = forge.pki.certificateToPem(leaf)
    return { cert, key: own.privateKey, der: new Uint8Array(new X509Certificate(cert).raw) }
  }
  return {
    ca: forge.pki.certificateToPem(root),
    issue: subject => {
      const key = JSON.stringify(subject)
      const known = issued.get(key) ?? issue(subject)
      issued.set(key, known)
      return known
    },
  }
}

/** By node:crypto: the generator of node-forge takes seconds. */
function rsaKeys(): Promise<{ publicKey: string; privateKey: string }> {
  return makeKeys('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
}

function blank(
  publicKey: string,
  subject: forge.pki.CertificateField[],
  issuer: forge.pki.CertificateField[],
  { notBefore = Date.now() - HOUR, notAfter = Date.now() + 24 * HOUR }: Partial<Subject>,
): forge.pki.Certificate {
  const certificate = forge.pki.createCertificate()
  certificate.publicKey = forge.pki.publicKeyFromPem(publicKey)
  // A leading 01 keeps the serial positive.
  certificate.serialNumber = `01${forge.util.bytesToHex(forge.random.getBytesSync(15))}`
  certificate.validity.notBefore = new Date(notBefore)
  certificate.validity.notAfter = new Date(notAfter)
  certificate.setSubject(subject)
  certificate.setIssuer(issuer)
  return certificate
}

const DNS_NAME = 2
const IP_ADDRESS = 7

function leafExtensions({ dnsNames = [], ipAddresses = [], usage = 'server' }: Subject): object[] {
  const altNames = [
    ...dnsNames.map(value => ({ type: DNS_NAME, value })),
    ...ipAddresses.map(ip => ({ type: IP_ADDRESS, ip })),
  ]
  return [
    { name: 'basicConstraints', critical: true, cA: false },
    { name: 'keyUsage', critical: true, digitalSignature: true },
    { name: 'extKeyUsage', ...(usage === 'server' ? { serverAuth: true } : { clientAuth: true }) },
    ...(altNames.length > 0 ? [{ name: 'subjectAltName', altNames }] : []),
  ]
}
