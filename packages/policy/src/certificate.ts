import type { Identity, Json } from '@postern/interface'
import { readAddress } from './address.ts'
import { isDnsName, lowerAscii, readEmail } from './email.ts'
import type { Answer } from './facts.ts'

/** What a certificate must say: all that is given here, of one and the same certificate. */
export interface CertificateTest {
  /** The name that its authority has at the edge. */
  readonly ca?: string
  /** Of its subject. It is never taken for one of the names below, nor one of them for it. */
  readonly commonName?: string
  /** One of its alternative names, of that type. ASCII letters of DNS names and addresses are compared in lower case. */
  readonly dns?: string
  readonly email?: string
  readonly uri?: string
  readonly ip?: string
  /** SHA-256 of its DER in lower-case hex. */
  readonly fingerprint?: string
  /** Its issuer's distinguished name in one line, as the edge writes it. */
  readonly issuer?: string
}

type Member = keyof CertificateTest
const MEMBERS: readonly Member[] = ['ca', 'commonName', 'dns', 'email', 'uri', 'ip', 'fingerprint', 'issuer']
const NAMES: readonly Member[] = ['dns', 'email', 'uri', 'ip']
const WITHOUT_CASE: readonly Member[] = ['dns', 'email']

/** What is wrong with a text in that place, as the end of a sentence. */
export const MEANINGS: Readonly<Record<Member, (text: string) => string | undefined>> = {
  ca: text => unless(/^[a-z0-9][a-z0-9-]{0,62}$/.test(text), 'is not a name that an authority can have'),
  commonName: () => undefined,
  dns: text => unless(isDnsName(lowerAscii(text)), 'is not one DNS name of ASCII letters, digits and hyphens'),
  email: text => unless(readEmail(text) !== undefined, 'is not an email address of one @ and ASCII letters'),
  uri: () => undefined,
  ip: text => unless(readAddress(text) !== undefined, 'is not an address in its usual spelling'),
  fingerprint: text => unless(/^[0-9a-f]{64}$/.test(text), 'is not a SHA-256 of 64 lower-case hex digits'),
  issuer: () => undefined,
}

function unless(is: boolean, wrong: string): string | undefined {
  return is ? undefined : wrong
}

/** What the edge's verifier said of the certificate is in the claims of its identity, the names under `san`, by type. */
export function certificateTest(test: CertificateTest): (certificate: Identity) => Answer {
  const wanted = MEMBERS.flatMap(member => {
    const text = test[member]
    return text === undefined ? [] : [{ member, text: spelled(member, text) }]
  })
  return ({ claims }) => {
    if (typeof own(claims, 'fingerprint') !== 'string') return 'unknown'
    const answers = wanted.map(({ member, text }) => answerOf(claims, member, text))
    return answers.includes('no') ? 'no' : answers.includes('unknown') ? 'unknown' : 'yes'
  }
}

function answerOf(claims: Identity['claims'], member: Member, text: string): Answer {
  if (NAMES.includes(member)) return namesAnswer(own(claims, 'san'), member, text)
  const said = own(claims, member)
  // It may have none; the others it has.
  if (member === 'commonName' && said === undefined) return 'no'
  return typeof said !== 'string' ? 'unknown' : said === text ? 'yes' : 'no'
}

function namesAnswer(san: Json | undefined, type: Member, text: string): Answer {
  const names = isRecord(san) ? own(san, type) : undefined
  if (!Array.isArray(names)) return 'unknown'
  return names.some(name => typeof name === 'string' && spelled(type, name) === text) ? 'yes' : 'no'
}

function spelled(member: Member, text: string): string {
  return WITHOUT_CASE.includes(member) ? lowerAscii(text) : text
}

function own(value: { readonly [key: string]: Json }, name: string): Json | undefined {
  return Object.hasOwn(value, name) ? value[name] : undefined
}

function isRecord(value: Json | undefined): value is { readonly [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
