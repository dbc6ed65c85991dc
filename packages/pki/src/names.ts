import { isIPv4, isIPv6 } from 'node:net'
import { PosternError } from '@postern/interface'

/** One name of a certificate’s subject alternative names (RFC 5280 §4.2.1.6), of the types that Postern knows. */
export interface SubjectName {
  readonly type: 'dns' | 'email' | 'uri' | 'ip'
  readonly value: string
}

/** Names of one certificate. */
export const MOST_NAMES = 100
/** X.520: characters of a common name. */
export const MOST_COMMON_NAME = 64
const MOST_LENGTH = { dns: 253, email: 254, uri: 2048, ip: 45 } as const

const FORM = {
  // A wildcard stands for the whole first label.
  dns: /^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$/,
  email: /^[!-?A-~]+@[A-Za-z0-9.-]+$/,
  uri: /^[A-Za-z][A-Za-z0-9+.-]*:[!-~]+$/,
} as const

/** Nothing that a terminal, a log or a reader could take for something else: NUL, line ends, what turns the direction of text. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u

/** Whether a text has a character that is not seen. */
export function hasUnseen(text: string): boolean {
  return UNSEEN.test(text)
}

/**
 * The same address always in the same letters: IPv6 as RFC 5952 has it, without IPv4’s dots.
 *
 * @returns undefined when it is no address
 */
export function canonicalIp(text: string): string | undefined {
  if (isIPv4(text)) return text
  return isIPv6(text) && !text.includes('%') ? new URL(`http://[${text}]`).hostname.slice(1, -1) : undefined
}

/**
 * Names as they will stand in a certificate.
 *
 * @throws PosternError BAD_USAGE: a name that is none of its type, the same one twice, or more than {@link MOST_NAMES}
 */
export function checkNames(names: readonly SubjectName[]): readonly SubjectName[] {
  if (names.length > MOST_NAMES)
    throw new PosternError('BAD_USAGE', `a certificate has ${MOST_NAMES} names at most, not ${names.length}`)
  const checked = names.map(checkName)
  if (new Set(checked.map(({ type, value }) => `${type}:${value}`)).size < checked.length)
    throw new PosternError('BAD_USAGE', 'a certificate has each of its names once')
  return checked
}

function checkName({ type, value }: SubjectName): SubjectName {
  const right = type === 'ip' ? canonicalIp(value) : isOfForm(type, value) ? value : undefined
  if (right !== undefined) return { type, value: right }
  const shown = JSON.stringify(value.slice(0, 80))
  throw new PosternError('BAD_USAGE', `${shown} cannot be the ${type} name of a certificate`, {
    next: 'Give ASCII only, a name beyond it in its ASCII form (xn--…), without spaces.',
  })
}

function isOfForm(type: Exclude<SubjectName['type'], 'ip'>, value: string): boolean {
  return value.length <= MOST_LENGTH[type] && FORM[type]?.test(value)
}

/** @throws PosternError BAD_USAGE: empty, too long, or with characters that are not seen */
export function checkCommonName(name: string): string {
  const length = [...name].length
  if (length > 0 && length <= MOST_COMMON_NAME && !hasUnseen(name) && name.isWellFormed()) return name
  throw new PosternError(
    'BAD_USAGE',
    `${JSON.stringify(name.slice(0, 80))} cannot be the common name of a certificate`,
    {
      next: `Give 1 to ${MOST_COMMON_NAME} characters that can be seen.`,
    },
  )
}
