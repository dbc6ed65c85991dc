import { readRange } from './address.ts'
import { type CertificateTest, MEANINGS } from './certificate.ts'
import { isDomain, readEmail } from './email.ts'
import { readPattern } from './path.ts'
import { readRegex } from './regex.ts'

/** A text, a number or a truth value: what a claim is compared with. */
export type Scalar = string | number | boolean

/** One of `equals`, `in` and `matches`. */
export type ClaimTest = { readonly name: string } & (
  | { readonly equals: Scalar }
  | { readonly in: readonly Scalar[] }
  | { readonly matches: string }
) & { readonly issuer?: string }

/**
 * Who, or which request, a rule speaks of. One member each; a selector with none, several or an unknown one cannot be decided.
 *
 * Who:
 *
 * - `everyone`: any person who is signed in.
 * - `email`: the person whose address this is, as their provider vouches for it; ASCII letters are compared in lower case.
 * - `emailDomain`: people with an address at exactly this domain, not at one below it.
 * - `group`: people whom their provider lists in this group, spelled exactly so.
 * - `claim`: a top-level claim of an identity, or one of its members where it is a list: `equals` this, is `in` these, or
 *   `matches` this regular expression (RE2) as a whole. `issuer`: only as this provider says it.
 * - `provider`: whoever this issuer identified.
 * - `identity`: exactly this (issuer, subject), as a verifier made it.
 * - `serviceToken`: the service token of this id. `anyServiceToken`: any that this edge verified; never a daemon's tunnel token.
 * - `certificate`: a client certificate of which all of this is so: exact texts, each of its own kind; no name stands for another.
 *   It is no person.
 *
 * Which request:
 *
 * - `address`: it comes from one of these addresses or ranges.
 * - `path`: it is for one of these paths or below. `method`: it has one of these methods. Neither is known of access to a
 *   protocol (TCP, SSH): only of a single HTTP request.
 *
 * `inGroup`: whatever one of the selectors of this reusable group matches.
 */
export type Selector =
  | { readonly everyone: true }
  | { readonly email: string }
  | { readonly emailDomain: string }
  | { readonly group: string }
  | { readonly claim: ClaimTest }
  | { readonly provider: string }
  | { readonly identity: { readonly issuer: string; readonly subject: string } }
  | { readonly serviceToken: string }
  | { readonly anyServiceToken: true }
  | { readonly certificate: CertificateTest }
  | { readonly address: readonly string[] }
  | { readonly path: readonly string[] }
  | { readonly method: readonly string[] }
  | { readonly inGroup: string }

type KeyOf<S> = S extends unknown ? keyof S & string : never
export type SelectorKey = KeyOf<Selector>
/** What a member of that name holds. */
export type SelectorValue<K extends SelectorKey> =
  Extract<Selector, Readonly<Record<K, unknown>>> extends Readonly<Record<K, infer V>> ? V : never

/** Most entries of a list inside a selector. */
export const MOST_ENTRIES = 200
/** Longest text inside a selector, in characters. */
export const LONGEST_TEXT = 8192

export const NOT_KNOWN = 'is not a selector this version knows'

/** What is wrong with a value of that shape, as the end of a sentence; `NOT_KNOWN` where the shape is wrong. */
const CHECKS: { readonly [K in SelectorKey]: (value: unknown) => string | undefined } = {
  everyone: isTrue,
  anyServiceToken: isTrue,
  email: value =>
    shaped(isText(value), () =>
      readEmail(value as string) ? undefined : 'is not an email address of one @ and ASCII letters',
    ),
  emailDomain: value =>
    shaped(isText(value), () =>
      isDomain(value as string)
        ? undefined
        : 'is not a domain in lower case, such as example.com; one in other letters is written xn--…',
    ),
  group: text,
  provider: text,
  serviceToken: text,
  inGroup: text,
  identity: value =>
    shaped(isRecord(value) && hasOnly(value, ['issuer', 'subject']) && isText(value.issuer) && isText(value.subject)),
  claim: checkClaim,
  certificate: checkCertificate,
  address: value => each(value, one => problemOf(readRange(one))),
  path: value => each(value, one => problemOf(readPattern(one))),
  method: value =>
    each(value, one => (/^[A-Z]{1,32}$/.test(one) ? undefined : 'is not a method in capitals, such as GET')),
}

/** The member that says what kind of selector a value is; undefined when its shape is not one of a selector. */
export function keyOf(value: unknown): SelectorKey | undefined {
  if (!isRecord(value)) return undefined
  const [key, ...others] = Object.keys(value)
  return key !== undefined && others.length === 0 && Object.hasOwn(CHECKS, key) ? (key as SelectorKey) : undefined
}

/** What is wrong with a selector, as the end of a sentence; undefined when it can be decided. */
export function checkSelector(value: unknown): string | undefined {
  const key = keyOf(value)
  return key === undefined ? NOT_KNOWN : CHECKS[key]((value as Record<string, unknown>)[key])
}

/** What is wrong behind its place: `.path[0] does not begin with /`. */
export function saying(key: SelectorKey | undefined, wrong: string): string {
  if (key === undefined || wrong === NOT_KNOWN) return ` ${NOT_KNOWN}`
  return `.${key}${/^[[.]/.test(wrong) ? '' : ' '}${wrong}`
}

const TESTS = ['equals', 'in', 'matches']

function checkClaim(value: unknown): string | undefined {
  if (!isRecord(value) || !isText(value.name)) return NOT_KNOWN
  if ('issuer' in value && !isText(value.issuer)) return NOT_KNOWN
  const [test, ...others] = Object.keys(value).filter(key => key !== 'name' && key !== 'issuer')
  if (test === undefined || others.length > 0 || !TESTS.includes(test)) return NOT_KNOWN
  if (test === 'equals') return shaped(isScalar(value.equals))
  if (test === 'in') return shaped(isList(value.in, isScalar))
  return shaped(isText(value.matches), () => problemOf(readRegex(value.matches as string)))
}

function checkCertificate(value: unknown): string | undefined {
  if (!isRecord(value) || Object.keys(value).length === 0) return NOT_KNOWN
  for (const [member, text] of Object.entries(value)) {
    if (!Object.hasOwn(MEANINGS, member) || !isText(text)) return NOT_KNOWN
    const wrong = MEANINGS[member as keyof CertificateTest](text as string)
    if (wrong !== undefined) return `.${member} ${wrong}`
  }
  return undefined
}

function isTrue(value: unknown): string | undefined {
  return shaped(value === true)
}

function text(value: unknown): string | undefined {
  return shaped(isText(value))
}

function shaped(isShaped: boolean, meaning?: () => string | undefined): string | undefined {
  return isShaped ? meaning?.() : NOT_KNOWN
}

/** A list of texts, each with a meaning. */
function each(value: unknown, meaning: (one: string) => string | undefined): string | undefined {
  if (!isList(value, isText)) return NOT_KNOWN
  for (const [index, one] of (value as string[]).entries()) {
    const wrong = meaning(one)
    if (wrong !== undefined) return `[${index}] ${wrong}` // not the text itself: one may be a secret
  }
  return undefined
}

function problemOf(read: unknown): string | undefined {
  return typeof read === 'string' ? read : undefined
}

function isList(value: unknown, isEntry: (one: unknown) => boolean): boolean {
  return Array.isArray(value) && value.length > 0 && value.length <= MOST_ENTRIES && value.every(isEntry)
}

function hasOnly(value: Record<string, unknown>, keys: readonly string[]): boolean {
  return Object.keys(value).every(key => keys.includes(key))
}

export function isScalar(value: unknown): value is Scalar {
  return (
    (typeof value === 'string' && value.length <= LONGEST_TEXT) || typeof value === 'boolean' || Number.isFinite(value)
  )
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= LONGEST_TEXT
}

/** Whether a value is an object with members, and no list. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
