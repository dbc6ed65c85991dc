import { createHash, X509Certificate } from 'node:crypto'
import { PosternError } from '@postern/interface'
import { elementsIn, rawOf, wholeElement } from './der.ts'
import { canonicalIp, hasUnseen, MOST_NAMES, type SubjectName } from './names.ts'

/** What a certificate says of who has it. Whether it is to be believed is OpenSSL’s to say, at the handshake. */
export interface LeafFacts {
  /** The most specific one of the subject. Never a name of a host or a mailbox: those are in `san` or nowhere. */
  readonly commonName?: string
  /** Typed, in the certificate’s order, exactly as they stand there; addresses in one form. Other types are not here. */
  readonly san: readonly SubjectName[]
  /** As RFC 4514 writes them: one line, escaped, the most specific part first. */
  readonly issuer: string
  readonly subject: string
  /** Lower-case hex, without leading zero bytes. */
  readonly serial: string
  /** SHA-256 of the DER, and of the public key (SPKI), lower-case hex. */
  readonly fingerprint: string
  readonly spkiFingerprint: string
  /** Milliseconds since the epoch. */
  readonly notBefore: number
  readonly notAfter: number
}

/** TLS takes no more of a peer either. */
const MOST_BYTES = 64 * 1024
/** [3] of a certificate’s body. */
const EXTENSIONS = 0xa3

/**
 * Reads a leaf certificate. It takes 0.15 ms: keep what it says beside the socket.
 *
 * @param der a certificate that came through OpenSSL
 * @throws PosternError AUTH_REJECTED: not one certificate; a name with NUL or another character that is not seen, or that is
 *   none of its type; more than 100 names; a serial that is no positive number
 */
export function readLeaf(der: Uint8Array): LeafFacts {
  const certificate = parse(der)
  const commonName = commonNameOf(certificate)
  const subject = onOneLine(certificate.subject)
  const issuer = onOneLine(certificate.issuer)
  const isSeen = [subject, issuer].every(name => !hasUnseen(name) && !HAS_ESCAPED_CONTROL.test(name))
  if (!isSeen || hasUnseen(commonName ?? '')) throw refused('has a name with a character that is not seen')
  const serial = certificate.serialNumber.toLowerCase()
  if (!/^[0-9a-f]{1,64}$/.test(serial)) throw refused('has a serial that is no positive number')
  return {
    ...(commonName !== undefined && { commonName }),
    san: readAlternatives(certificate.subjectAltName ?? ''),
    issuer,
    subject,
    serial,
    fingerprint: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
    spkiFingerprint: fingerprintOfKey(certificate),
    notBefore: certificate.validFromDate.getTime(),
    notAfter: certificate.validToDate.getTime(),
  }
}

/** Node writes one attribute a line, the least specific first, each escaped as RFC 4514 has it. */
export function onOneLine(name: string | undefined): string {
  return (name ?? '').split('\n').filter(Boolean).reverse().join(',')
}

/** A backslash that is not itself escaped, and the hex of a control character. */
const HAS_ESCAPED_CONTROL = /(?<!\\)(?:\\\\)*\\(?:[01][0-9A-Fa-f]|7[Ff])/

function parse(der: Uint8Array): X509Certificate {
  if (der.length > MOST_BYTES) throw refused(`is larger than ${MOST_BYTES / 1024} KiB`)
  try {
    const certificate = new X509Certificate(der)
    if (!hasTwins(der)) return certificate
  } catch (cause) {
    throw refused('is not one certificate in DER', cause)
  }
  throw refused('has an extension twice')
}

function fingerprintOfKey(certificate: X509Certificate): string {
  try {
    return createHash('sha256')
      .update(certificate.publicKey.export({ type: 'spki', format: 'der' }))
      .digest('hex')
  } catch (cause) {
    throw refused('has a key that cannot be read', cause)
  }
}

/** RFC 5280 §4.2: one of each kind. Node reads the first, others the last. */
function hasTwins(der: Uint8Array): boolean {
  const [body] = elementsIn(der, wholeElement(der))
  const wrapped = body && elementsIn(der, body).find(field => field.tag === EXTENSIONS)
  const [list] = wrapped ? elementsIn(der, wrapped) : []
  const extensions = list ? elementsIn(der, list) : []
  const ids = extensions
    .map(one => elementsIn(der, one)[0])
    .map(id => id && Buffer.from(rawOf(der, id)).toString('hex'))
  return new Set(ids).size < ids.length
}

function commonNameOf(certificate: X509Certificate): string | undefined {
  const found: string | readonly string[] | undefined = certificate.toLegacyObject().subject?.CN
  return typeof found === 'string' ? found : found?.at(-1)
}

/** As Node writes them since the alternative names of 2022: a value with anything special in it is a JSON string. */
const ALTERNATIVE = /([A-Za-z][A-Za-z ]*):("(?:[^"\\]|\\.)*"|[^",]*)(?:, |$)/y
const TYPES: Readonly<Record<string, SubjectName['type']>> = {
  DNS: 'dns',
  email: 'email',
  URI: 'uri',
  'IP Address': 'ip',
}

function readAlternatives(text: string): readonly SubjectName[] {
  const found: SubjectName[] = []
  let [count, at] = [0, 0]
  while (at < text.length) {
    ALTERNATIVE.lastIndex = at
    const [whole, label = '', value = ''] = ALTERNATIVE.exec(text) ?? []
    if (whole === undefined) throw refused('has alternative names that cannot be read')
    at += whole.length
    count += 1
    if (count > MOST_NAMES) throw refused(`has more than ${MOST_NAMES} names`)
    const type = TYPES[label]
    if (type) found.push({ type, value: readValue(type, value) })
  }
  return found
}

/** These types are ASCII, by their definition (IA5String). */
function readValue(type: SubjectName['type'], text: string): string {
  const value = text.startsWith('"') ? String(JSON.parse(text)) : text
  const right = type === 'ip' ? canonicalIp(value) : /^[!-~]+( [!-~]+)*$/.test(value) ? value : undefined
  if (right === undefined) throw refused(`has a name of the type ${type} that is none`)
  return right
}

function refused(why: string, cause?: unknown): PosternError {
  return new PosternError('AUTH_REJECTED', `the client certificate ${why}`, {
    cause,
    next: 'Ask whoever issued it for another one.',
  })
}
