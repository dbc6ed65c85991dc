import type { Identity, Json } from '@postern/interface'
import { isIn, readRange } from './address.ts'
import { certificateTest } from './certificate.ts'
import { type Email, lowerAscii, readEmail } from './email.ts'
import { type Answer, CERTIFICATES, type View } from './facts.ts'
import { isBelow, readPattern } from './path.ts'
import { readRegex } from './regex.ts'
import { type ClaimTest, isScalar, type Scalar, type SelectorKey, type SelectorValue } from './selector.ts'

/** Issuer of the identities that the service-token verifier makes. */
const SERVICE_TOKENS = 'postern:service-token'
/** These have selectors of their own, and no claims to ask for: beside a person they answer for no claim of that person's. */
const WITHOUT_CLAIMS: readonly string[] = [SERVICE_TOKENS, CERTIFICATES]

/** Most members of a list in an identity, its groups or a claim, and most characters a regular expression reads. */
const MOST_MEMBERS = 1000
const LONGEST_MATCHED = 1024

export type Test = (view: View) => Answer

/** How each kind of selector is decided. What it holds has been checked, and is read here once, not in each decision. */
export const TESTS: { readonly [K in Exclude<SelectorKey, 'inGroup'>]: (value: SelectorValue<K>) => Test } = {
  everyone: () => view => (view.people.length > 0 ? 'yes' : 'no'),
  email: wanted => {
    const address = lowerAscii(wanted)
    return anyPerson(person => certain(vouchedEmail(person), ({ local, domain }) => `${local}@${domain}` === address))
  },
  emailDomain: wanted => anyPerson(person => certain(vouchedEmail(person), ({ domain }) => domain === wanted)),
  group: wanted => anyPerson(({ groups }) => certain(bounded(groups), all => all.includes(wanted))),
  claim: wanted => {
    const isMeant = claimTest(wanted)
    const concerns = ({ issuer }: Identity) =>
      !WITHOUT_CLAIMS.includes(issuer) && (wanted.issuer === undefined || issuer === wanted.issuer)
    return view => any(view.described.filter(concerns), ({ claims }) => claimAnswer(claims, wanted.name, isMeant))
  },
  provider: wanted => view => yesIf(view.described.some(({ issuer }) => issuer === wanted)),
  identity: wanted => view =>
    yesIf(view.named.some(({ issuer, subject }) => issuer === wanted.issuer && subject === wanted.subject)),
  serviceToken: wanted => view => yesIf(view.named.some(one => isServiceToken(one) && one.subject === wanted)),
  anyServiceToken: () => view => yesIf(view.named.some(isServiceToken)),
  certificate: wanted => {
    const isMeant = certificateTest(wanted)
    return ({ certificates = [] }) => any(certificates, isMeant)
  },
  address: wanted => {
    const ranges = wanted.map(readRange).filter(range => typeof range !== 'string')
    return view => certain(view.request.address, address => ranges.some(range => isIn(range, address)))
  },
  path: wanted => {
    const patterns = wanted.map(readPattern).filter(pattern => typeof pattern !== 'string')
    return view => certain(view.request.segments, segments => patterns.some(pattern => isBelow(pattern, segments)))
  },
  method: wanted => view => certain(view.request.method, method => wanted.includes(method)),
}

/** Why there was no answer, for reasons. */
export const UNTOLD: Readonly<Record<SelectorKey, string>> = {
  everyone: 'it cannot be told',
  email: 'no provider vouches for an email address of theirs',
  emailDomain: 'no provider vouches for an email address of theirs',
  group: 'their provider does not say what groups they are in',
  claim: 'they have no such claim, or one of another form',
  provider: 'it cannot be told',
  identity: 'it cannot be told',
  serviceToken: 'it cannot be told',
  anyServiceToken: 'it cannot be told',
  certificate: 'what is known of the certificate is not complete',
  address: 'the address is not known, or not in its usual spelling',
  path: 'there is no path, or one that can be read in two ways',
  method: 'it is no HTTP request',
  inGroup: 'a selector of the group cannot be decided',
}

/** Yes when one is, unknown when one may be, otherwise no. */
export function any<T>(all: readonly T[], answer: (one: T) => Answer): Answer {
  let found: Answer = 'no'
  for (const one of all) {
    const is = answer(one)
    if (is === 'yes') return 'yes'
    if (is === 'unknown') found = 'unknown'
  }
  return found
}

function anyPerson(answer: (person: Identity) => Answer): Test {
  return view => any(view.people, answer)
}

function certain<T>(fact: T | undefined, isMeant: (fact: T) => boolean): Answer {
  return fact === undefined ? 'unknown' : yesIf(isMeant(fact))
}

function yesIf(is: boolean): Answer {
  return is ? 'yes' : 'no'
}

const EMAILS = new WeakMap<Identity, Email | 'none'>()

/** The address that the provider vouches for: where it also sends the claim `email_verified`, that must be true. */
export function vouchedEmail(person: Identity): Email | undefined {
  let known = EMAILS.get(person)
  if (known === undefined) {
    const { email, claims } = person
    const isVouched = !Object.hasOwn(claims, 'email_verified') || claims.email_verified === true
    known = (email !== undefined && isVouched && readEmail(email)) || 'none'
    EMAILS.set(person, known)
  }
  return known === 'none' ? undefined : known
}

function isServiceToken({ kind, issuer }: Identity): boolean {
  return kind === 'service' && issuer === SERVICE_TOKENS
}

function bounded<T>(list: readonly T[] | undefined): readonly T[] | undefined {
  return list !== undefined && list.length <= MOST_MEMBERS ? list : undefined
}

function claimAnswer(claims: Identity['claims'], name: string, isMeant: (value: Scalar) => Answer): Answer {
  const value: Json | undefined = Object.hasOwn(claims, name) ? claims[name] : undefined
  if (!Array.isArray(value)) return scalarAnswer(value, isMeant)
  const members: readonly Json[] | undefined = bounded(value)
  return members === undefined ? 'unknown' : any(members, one => scalarAnswer(one, isMeant))
}

function scalarAnswer(value: unknown, isMeant: (value: Scalar) => Answer): Answer {
  return isScalar(value) ? isMeant(value) : 'unknown'
}

function claimTest(wanted: ClaimTest): (value: Scalar) => Answer {
  if ('equals' in wanted) return value => yesIf(value === wanted.equals)
  if ('in' in wanted) return value => yesIf(wanted.in.includes(value))
  const regex = readRegex(wanted.matches)
  return value => {
    if (typeof value !== 'string') return 'no'
    if (typeof regex === 'string' || value.length > LONGEST_MATCHED) return 'unknown'
    return yesIf(regex.matches(value))
  }
}
