import type { Json } from '@postern/interface'

/** What a rule lets an SSH certificate say: `permit: { ssh: { principals: ["deploy", { "claim": "unix_name" }] } }`. */
export interface SshPermit {
  /** User names on the servers, or what these map to them. Absent: there is no certificate. */
  readonly principals?: readonly SshPrincipal[]
  /** Absent: all there are. */
  readonly extensions?: readonly string[]
  /** How long a certificate is good, 60–86,400; default 300. */
  readonly seconds?: number
  /** The one command that the server runs, whatever was asked for. */
  readonly forceCommand?: string
}

/**
 * A name; or the claim of the person's that holds it; or the name of their email address, where its domain is exactly this one, in
 * lower case.
 */
export type SshPrincipal = string | { readonly claim: string } | { readonly emailLocalPart: string }

/** In the order of OpenSSH's manual: what an `authorized_keys` line without options lets one do as well. */
export const SSH_EXTENSIONS: readonly string[] = [
  'permit-X11-forwarding',
  'permit-agent-forwarding',
  'permit-port-forwarding',
  'permit-pty',
  'permit-user-rc',
]
export const MOST_PRINCIPALS = 32
export const SSH_SECONDS: { readonly least: number; readonly most: number; readonly usual: number } = {
  least: 60,
  most: 86_400,
  usual: 300,
}
const LONGEST_COMMAND = 1024
const LONGEST_CLAIM = 256
/** RFC 1035 §2.3.4. */
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/
const LONGEST_DOMAIN = 253
const MEMBERS: readonly string[] = ['principals', 'extensions', 'seconds', 'forceCommand'] satisfies (keyof SshPermit)[]

/** Whether a name can stand in a certificate: one that no server reads as two, or as an option of a line. */
export function isSshPrincipal(name: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}$/.test(name)
}

/**
 * Reads what a rule permits under `ssh`.
 *
 * @returns what is wrong with it, a sentence each, or the permit
 */
export function readSshPermit(value: Json): { readonly permit: SshPermit } | { readonly wrong: readonly string[] } {
  if (!isObject(value)) return { wrong: ['ssh is not an object'] }
  const { principals, extensions, seconds, forceCommand } = value
  const { least, most } = SSH_SECONDS
  const wrong = Object.keys(value)
    .filter(key => !MEMBERS.includes(key))
    .map(key => `ssh has a member that is not known: ${JSON.stringify(key.slice(0, 64))}`)
  if (principals !== undefined) wrong.push(...checkPrincipals(principals))
  if (extensions !== undefined && !isListOf(extensions, one => typeof one === 'string' && SSH_EXTENSIONS.includes(one)))
    wrong.push(`ssh.extensions is a list of: ${SSH_EXTENSIONS.join(', ')}`)
  if (seconds !== undefined && !(Number.isInteger(seconds) && Number(seconds) >= least && Number(seconds) <= most))
    wrong.push(`ssh.seconds is a whole number from ${least} to ${most}`)
  if (forceCommand !== undefined && !isPrintable(forceCommand, LONGEST_COMMAND))
    wrong.push(`ssh.forceCommand is a command of 1–${LONGEST_COMMAND} printable characters`)
  return wrong.length > 0 ? { wrong } : { permit: value as SshPermit }
}

function checkPrincipals(principals: Json): string[] {
  if (!Array.isArray(principals) || principals.length === 0 || principals.length > MOST_PRINCIPALS)
    return [`ssh.principals is a list of 1–${MOST_PRINCIPALS} user names`]
  return principals.flatMap((one: Json, at) => {
    if (typeof one === 'string' ? isSshPrincipal(one) : isTaken(one)) return []
    return `ssh.principals[${at}] is neither a user name of 1–64 letters, digits and _.@+-, nor { "claim": NAME }, nor { "emailLocalPart": "example.com" }`
  })
}

/** Taken from who is let in: exactly one thing. */
function isTaken(value: Json): boolean {
  if (!isObject(value)) return false
  const members = Object.keys(value).join()
  if (members === 'claim') return isPrintable(value.claim, LONGEST_CLAIM)
  return members === 'emailLocalPart' && isDomain(value.emailLocalPart)
}

function isDomain(value: Json | undefined): boolean {
  if (typeof value !== 'string' || value.length > LONGEST_DOMAIN) return false
  const labels = value.split('.')
  return labels.length > 1 && labels.every(label => LABEL.test(label))
}

function isObject(value: Json): value is { readonly [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isPrintable(value: Json | undefined, most: number): value is string {
  return typeof value === 'string' && value.length <= most && /^[ -~]+$/.test(value)
}

function isListOf(value: Json, isMember: (one: Json) => boolean): boolean {
  return Array.isArray(value) && value.every(isMember) && new Set(value).size === value.length
}
