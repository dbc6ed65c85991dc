import { generateKeyPairSync, type KeyObject, randomBytes, sign, X509Certificate } from 'node:crypto'

/**
 * Just enough X.509 (RFC 5280) to run TLS on loopback, so that the kit needs no dependency and carries no private key in its
 * tarball. For tests only: nothing here belongs into a program.
 */
export interface Certificate {
  readonly cert: string
  readonly key: string
}

export interface TestAuthority {
  /** PEM of the CA itself. */
  readonly ca: string
  issue(subject: Subject): Certificate
}

export interface Subject {
  readonly commonName: string
  readonly dnsNames?: readonly string[]
  /** Milliseconds since the epoch. Default: an hour ago, and a day from now. */
  readonly notBefore?: number
  readonly notAfter?: number
}

/** Makes a CA with a fresh key (P-256). */
export function testAuthority(name = 'Postern compliance kit'): TestAuthority {
  const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const root = certificate({
    issuer: name,
    subject: name,
    publicKey: keys.publicKey,
    signer: keys.privateKey,
    ca: true,
  })
  return {
    ca: root,
    issue: ({ commonName, ...more }) => {
      const own = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      const facts = { issuer: name, subject: commonName, publicKey: own.publicKey, signer: keys.privateKey, ca: false }
      return {
        cert: certificate({ ...facts, ...more }),
        key: own.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      }
    },
  }
}

/** DER of the first certificate in a PEM text: the leaf, in a chain. */
export function leafOf(pem: string): Uint8Array {
  return new Uint8Array(new X509Certificate(pem).raw)
}

interface Facts extends Omit<Subject, 'commonName'> {
  readonly issuer: string
  readonly subject: string
  readonly publicKey: KeyObject
  readonly signer: KeyObject
  readonly ca: boolean
}

const HOUR = 3_600_000
const ECDSA_WITH_SHA256 = oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02)

function certificate(facts: Facts): string {
  const { issuer, subject, publicKey, signer, ca, dnsNames = [] } = facts
  const { notBefore = Date.now() - HOUR, notAfter = Date.now() + 24 * HOUR } = facts
  const extensions = [extension([0x55, 0x1d, 0x13], sequence(...(ca ? [der(0x01, Buffer.from([0xff]))] : [])), true)]
  if (dnsNames.length > 0) {
    extensions.push(extension([0x55, 0x1d, 0x11], sequence(...dnsNames.map(name => der(0x82, Buffer.from(name))))))
  }
  const body = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.concat([Buffer.from([1]), randomBytes(15)])),
    sequence(ECDSA_WITH_SHA256),
    distinguishedName(issuer),
    sequence(time(notBefore), time(notAfter)),
    distinguishedName(subject),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(...extensions)),
  )
  const whole = sequence(body, sequence(ECDSA_WITH_SHA256), bitString(sign('sha256', body, signer)))
  // Not `.{64}` and a line end: a text of whole lines would get an empty one, which is no PEM.
  const lines = whole.toString('base64').replace(/.{1,64}/g, '$&\n')
  return `-----BEGIN CERTIFICATE-----\n${lines}-----END CERTIFICATE-----\n`
}

function der(tag: number, ...content: readonly Buffer[]): Buffer {
  const value = Buffer.concat(content)
  const size = value.length
  const length = size < 128 ? [size] : size < 256 ? [0x81, size] : [0x82, size >> 8, size & 255]
  return Buffer.concat([Buffer.from([tag, ...length]), value])
}

function sequence(...content: readonly Buffer[]): Buffer {
  return der(0x30, ...content)
}

function oid(...bytes: readonly number[]): Buffer {
  return der(0x06, Buffer.from(bytes))
}

function bitString(bytes: Buffer): Buffer {
  return der(0x03, Buffer.from([0]), bytes)
}

function distinguishedName(commonName: string): Buffer {
  return sequence(der(0x31, sequence(oid(0x55, 0x04, 0x03), der(0x0c, Buffer.from(commonName)))))
}

function time(at: number): Buffer {
  return der(0x18, Buffer.from(`${new Date(at).toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`))
}

function extension(id: readonly number[], value: Buffer, critical = false): Buffer {
  return sequence(oid(...id), ...(critical ? [der(0x01, Buffer.from([0xff]))] : []), der(0x04, value))
}
