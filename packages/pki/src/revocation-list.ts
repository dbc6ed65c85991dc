import { X509Certificate } from 'node:crypto'
import { PosternError } from '@postern/interface'
import { contentOf, type Element, elementsIn, rawOf, TAG, wholeElement } from './der.ts'
import { isSignedBy } from './keys.ts'
import { onOneLine } from './leaf.ts'
import { readPem } from './pem.ts'

export interface RevocationList {
  /** The CA, as RFC 4514 writes it. */
  readonly issuer: string
  /** Its number, in decimal; a later list has a larger one. */
  readonly number?: bigint
  /** Milliseconds since the epoch. */
  readonly thisUpdate: number
  /** When the next list is due: after it this one says nothing any more. */
  readonly nextUpdate?: number
  /** Lower-case hex, without leading zero bytes, as a leaf’s serial. */
  readonly serials: readonly string[]
}

/** For as many serials as there may be, of 20 bytes and with a reason each. */
const MOST_BYTES = 12 * 1024 * 1024
const MOST_SERIALS = 200_000
/** Clocks of other machines may be ahead. */
const SKEW = 300_000

const OID = { delta: '551d1b', number: '551d14', issuingPoint: '551d1c' } as const

/**
 * Reads a CA’s revocation list (RFC 5280 §5).
 *
 * @param list PEM (`X509 CRL`) or DER, at most 12 MiB and 200,000 serials
 * @param authorities PEM of the CA’s certificates: one of them has signed it
 * @throws PosternError CONFIG_INVALID: not one list; of another CA, or not signed by it; a delta; a list of a part only; with
 *   something critical in it that is not known; past its time, or not yet valid
 */
export async function readRevocationList(list: string | Uint8Array, authorities: string): Promise<RevocationList> {
  const der = derOf(list)
  const parts = read(() => takeApart(der))
  const ca = await findSigner(der, parts, readPem(authorities, 'CERTIFICATE'))
  const facts = read(() => factsOf(der, parts))
  const now = Date.now()
  if (facts.nextUpdate !== undefined && facts.nextUpdate <= now)
    throw refused(`has been out of date since ${new Date(facts.nextUpdate).toISOString()}`)
  if (facts.thisUpdate > now + SKEW) throw refused(`is valid from ${new Date(facts.thisUpdate).toISOString()} on`)
  return { issuer: onOneLine(ca.subject), ...facts }
}

function derOf(list: string | Uint8Array): Uint8Array {
  if (list.length > (typeof list === 'string' ? MOST_BYTES * 1.5 : MOST_BYTES)) throw refused('is larger than 12 MiB')
  const isText = typeof list === 'string' || list[0] !== TAG.sequence
  if (!isText) return list
  const found = readPem(typeof list === 'string' ? list : Buffer.from(list).toString('latin1'), 'X509 CRL')
  const [der] = found
  if (der && found.length === 1 && der.length <= MOST_BYTES) return der
  throw refused(`has ${found.length} lists where one of at most 12 MiB is wanted`)
}

interface Parts {
  readonly body: Element
  readonly oid: Element
  readonly signature: Element
  readonly issuer: Element
  /** What comes after the issuer. */
  readonly rest: readonly Element[]
}

/** CertificateList: body, algorithm, signature. The body: [version], algorithm, issuer, this update, … */
function takeApart(der: Uint8Array): Parts {
  const [body, algorithm, signature, ...more] = elementsIn(der, wholeElement(der))
  if (!body || !algorithm || signature?.tag !== TAG.bitString || more.length > 0) throw new RangeError('three parts')
  const fields = elementsIn(der, body)
  if (fields[0]?.tag === TAG.integer) fields.shift()
  const [inner, issuer, ...rest] = fields
  const [oid] = elementsIn(der, algorithm)
  // RFC 5280 §5.1.1.2: the algorithm inside, which is signed, is the one outside.
  if (!inner || !issuer || !oid || !isEqual(rawOf(der, inner), rawOf(der, algorithm))) throw new RangeError('algorithm')
  return { body, oid, signature, issuer, rest }
}

async function findSigner(der: Uint8Array, parts: Parts, authorities: readonly Uint8Array[]): Promise<X509Certificate> {
  const { readAuthorityExtensions } = await import('./structures.ts')
  const issuer = rawOf(der, parts.issuer)
  const named = authorities.filter(ca =>
    isEqual(
      read(() => subjectOf(ca)),
      issuer,
    ),
  )
  if (named.length === 0) throw refused('is that of another CA')
  const signature = { oid: contentOf(der, parts.oid), value: contentOf(der, parts.signature).subarray(1) }
  for (const one of named) {
    const ca = new X509Certificate(one)
    const isSigned = await isSignedBy(ca.publicKey, rawOf(der, parts.body), signature).catch(() => false)
    if (isSigned && read(() => readAuthorityExtensions(one).signsLists)) return ca
  }
  throw refused('is not signed by its CA, with SHA-256 or more')
}

/** Certificate: body, … The body: [version], serial, algorithm, issuer, validity, subject, … */
function subjectOf(certificate: Uint8Array): Uint8Array {
  const [body] = elementsIn(certificate, wholeElement(certificate))
  const fields = body ? elementsIn(certificate, body) : []
  const subject = fields[fields[0]?.tag === VERSION ? 5 : 4]
  if (!subject) throw new RangeError('no subject')
  return rawOf(certificate, subject)
}

/** [0], in a certificate; in a list it is that of the extensions. */
const VERSION = 0xa0
const EXTENSIONS = 0xa0

function factsOf(der: Uint8Array, { rest }: Parts): Omit<RevocationList, 'issuer'> {
  const fields = [...rest]
  const thisUpdate = readTime(der, fields.shift())
  const nextUpdate = isTime(fields[0]) ? readTime(der, fields.shift()) : undefined
  const revoked = fields[0]?.tag === TAG.sequence ? fields.shift() : undefined
  const extensions = fields[0]?.tag === EXTENSIONS ? fields.shift() : undefined
  if (fields.length > 0) throw new RangeError('something after the extensions')
  const number = extensions && readExtensions(der, extensions)
  return {
    thisUpdate,
    ...(nextUpdate !== undefined && { nextUpdate }),
    ...(number !== undefined && { number }),
    serials: revoked ? readSerials(der, revoked) : [],
  }
}

/** @returns the list’s number */
function readExtensions(der: Uint8Array, wrapped: Element): bigint | undefined {
  const [list] = elementsIn(der, wrapped)
  let number: bigint | undefined
  for (const extension of list ? elementsIn(der, list) : []) {
    const { id, isCritical, value } = readExtension(der, extension)
    if (id === OID.delta) throw refused('is a delta; give the whole list')
    if (id === OID.issuingPoint) throw refused('is of a part of the CA’s certificates; give the whole list')
    if (isCritical) throw refused(`has a critical extension that is not known (${id})`)
    if (id === OID.number) number = BigInt(`0x${serialOf(der, wholeIn(der, value))}`)
  }
  return number
}

function readExtension(der: Uint8Array, extension: Element) {
  const [id, ...more] = elementsIn(der, extension)
  const value = more.at(-1)
  if (id?.tag !== TAG.oid || value?.tag !== TAG.octetString) throw new RangeError('extension')
  const isCritical = more[0]?.tag === TAG.boolean && der[more[0].content] !== 0
  return { id: Buffer.from(contentOf(der, id)).toString('hex'), isCritical, value }
}

function readSerials(der: Uint8Array, revoked: Element): readonly string[] {
  const entries = elementsIn(der, revoked)
  if (entries.length > MOST_SERIALS) throw refused(`has more than ${MOST_SERIALS.toLocaleString('en')} serials`)
  return entries.map(entry => {
    const [serial, , extensions] = elementsIn(der, entry)
    if (!serial) throw new RangeError('an entry without a serial')
    // Of an entry only “this one is another CA’s” is critical, in lists that speak for several.
    for (const extension of extensions ? elementsIn(der, extensions) : []) {
      const { id, isCritical } = readExtension(der, extension)
      if (isCritical) throw refused(`has an entry with a critical extension that is not known (${id})`)
    }
    return serialOf(der, serial)
  })
}

function serialOf(der: Uint8Array, integer: Element): string {
  const first = der[integer.content] ?? 0x80
  if (integer.tag !== TAG.integer || integer.content === integer.end || first >= 0x80) throw new RangeError('serial')
  const hex = Buffer.from(contentOf(der, integer)).toString('hex')
  return first === 0 && hex.length > 2 ? hex.slice(2) : hex
}

function wholeIn(der: Uint8Array, wrapper: Element): Element {
  const [only, ...more] = elementsIn(der, wrapper)
  if (!only || more.length > 0) throw new RangeError('one element')
  return only
}

function isTime(element: Element | undefined): boolean {
  return element?.tag === TAG.utcTime || element?.tag === TAG.generalizedTime
}

/** RFC 5280 §4.1.2.5: to the second, in UTC; of two digits, years from 50 are of the last century. */
function readTime(der: Uint8Array, element: Element | undefined): number {
  if (!element || !isTime(element)) throw new RangeError('time')
  const text = Buffer.from(contentOf(der, element)).toString('latin1')
  const full = element.tag === TAG.generalizedTime ? text : `${Number(text.slice(0, 2)) < 50 ? 20 : 19}${text}`
  const [, ...parts] = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(full) ?? []
  const [year, month, day, hour, minute, second] = parts
  const at = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
  if (Number.isNaN(at)) throw new RangeError('time')
  return at
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

/** What the reader of pieces finds amiss, as an error of ours. */
function read<T>(reading: () => T): T {
  try {
    return reading()
  } catch (cause) {
    if (PosternError.is(cause)) throw cause
    throw refused('cannot be read', cause)
  }
}

function refused(why: string, cause?: unknown): PosternError {
  return new PosternError('CONFIG_INVALID', `the revocation list ${why}`, {
    cause,
    next: 'Get the CA’s whole, current list; openssl crl -noout -text shows what is in a file.',
  })
}
