import { generateKeyPair, type KeyObject, randomBytes, sign } from 'node:crypto'
import { promisify } from 'node:util'
import { keyFingerprint } from './fingerprint.ts'

/** A client's own key for one session: the edge is told its fingerprint, and the daemon sees it proved. */
export interface SessionKey {
  /** `sha256:` and hexadecimal digits: of the public key (SPKI). */
  readonly fingerprint: string
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject
}

/** A new one, of the curve P-256. It is never written anywhere. */
export async function makeSessionKey(): Promise<SessionKey> {
  const { publicKey, privateKey } = await promisify(generateKeyPair)('ec', { namedCurve: 'prime256v1' })
  return { fingerprint: keyFingerprint(publicKey), publicKey, privateKey }
}

/** TLS wants a key in a certificate. Nobody looks at what this one says: it is good for a day before and after now, for clocks. */
const DAY = 86_400_000

/**
 * A certificate of the key, signed by itself (RFC 5280), which says nothing but the key. By hand, from a handful of fixed parts: what
 * writes certificates elsewhere takes 40 ms to load, and each start of ssh would wait for it.
 *
 * @returns PEM
 */
export function certificateOf({ publicKey, privateKey }: SessionKey): string {
  const serial = randomBytes(16)
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40
  const now = Date.now()
  const body = element(
    SEQUENCE,
    element(0xa0, element(INTEGER, Buffer.of(2))), // version 3
    element(INTEGER, serial),
    ECDSA_WITH_SHA256,
    NAME,
    element(SEQUENCE, time(now - DAY), time(now + DAY)),
    NAME,
    publicKey.export({ type: 'spki', format: 'der' }),
  )
  const signature = sign('sha256', body, privateKey)
  const der = element(SEQUENCE, body, ECDSA_WITH_SHA256, element(BIT_STRING, Buffer.of(0), signature))
  const lines = der.toString('base64').replace(/.{64}/g, '$&\n').trimEnd()
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`
}

const [INTEGER, BIT_STRING, OID, UTF8_STRING, SEQUENCE, SET, UTC_TIME] = [0x02, 0x03, 0x06, 0x0c, 0x30, 0x31, 0x17]

/** One element of DER (X.690) of at most 65,535 bytes. */
function element(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  const head = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.of(tag, ...head), content])
}

/** 1.2.840.10045.4.3.2 */
const ECDSA_WITH_SHA256 = element(SEQUENCE, element(OID, Buffer.from('2a8648ce3d040302', 'hex')))
/** CN=postern session */
const COMMON_NAME = element(OID, Buffer.from('550403', 'hex'))
const NAME = element(
  SEQUENCE,
  element(SET, element(SEQUENCE, COMMON_NAME, element(UTF8_STRING, Buffer.from('postern session')))),
)

/** YYMMDDHHMMSSZ: RFC 5280 §4.1.2.5, until 2049. */
function time(milliseconds: number): Buffer {
  const digits = new Date(milliseconds).toISOString().replace(/\D/g, '').slice(2, 14)
  return element(UTC_TIME, Buffer.from(`${digits}Z`))
}
