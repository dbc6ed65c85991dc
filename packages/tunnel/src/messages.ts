import { PosternError } from '@postern/interface'

/** The edge asks a daemon to dial a pipe for one client, who waits for it. */
export interface JoinMessage {
  readonly type: 'join'
  /** What the daemon shows when it comes, once: 26 characters of base32 in lower case, 128 random bits. */
  readonly ticket: string
  /** 1–128 visible ASCII characters: finds the client's admission in the audit log. */
  readonly requestId: string
  /** The application's: lower case, 1–253 characters of a name. */
  readonly hostname: string
}

/** A daemon does not come for a join. */
export interface DeclineMessage {
  readonly type: 'decline'
  readonly ticket: string
  /** Why the client cannot be served at all. Absent: it can, through the edge (hop). */
  readonly code?: string
}

/** A daemon tells of one stream of an end-to-end session, which the edge cannot see. */
export interface ReportMessage {
  readonly type: 'report'
  /** Of the grant: 1–128 visible ASCII characters. */
  readonly sid: string
  readonly event: 'stream.end'
  /** What the stream reached, by its kind (`ssh`, `tcp`, `unix`): 1–64 visible ASCII characters, never an address. */
  readonly service: string
  /** Bytes from the client to the service. */
  readonly up: number
  /** Bytes from the service to the client. */
  readonly down: number
  /** How long it was open. */
  readonly ms: number
  /** Why it was cut, or refused; absent: it ended. Capitals, digits and underscores: a later version may know more codes. */
  readonly code?: string
  /** Reports before this one that could not be told. */
  readonly lost?: number
}

/** What the hosts of two tunnels tell each other beside the streams. */
export type HostMessage = JoinMessage | DeclineMessage | ReportMessage

const TICKET = /^[a-z2-7]{26}$/
const WORD = /^[\x21-\x7e]{1,128}$/
const HOSTNAME = /^[a-z0-9_][a-z0-9_.-]{0,252}$/
const SERVICE = /^[\x21-\x7e]{1,64}$/
const CODE = /^[A-Z][A-Z0-9_]{0,63}$/

/**
 * Reads one of them strictly. Members that are not known are of a later version, and left out.
 *
 * @returns undefined for a type that is not known
 * @throws PosternError PROTOCOL_VIOLATION for one that is known and cannot be
 */
export function readMessage(value: Readonly<Record<string, unknown>>): HostMessage | undefined {
  if (value.type === 'join') return readJoin(value)
  if (value.type === 'decline') return readDecline(value)
  return value.type === 'report' ? readReport(value) : undefined
}

function readJoin({ ticket, requestId, hostname }: Readonly<Record<string, unknown>>): JoinMessage {
  if (!matches(ticket, TICKET) || !matches(requestId, WORD) || !matches(hostname, HOSTNAME))
    throw violation('A join that is not whole')
  return { type: 'join', ticket, requestId, hostname }
}

function readDecline({ ticket, code }: Readonly<Record<string, unknown>>): DeclineMessage {
  if (!matches(ticket, TICKET)) throw violation('A join is declined that is none')
  if (code !== undefined && !matches(code, CODE)) throw violation('A join is declined with a code that is none')
  return { type: 'decline', ticket, ...(code !== undefined && { code }) }
}

function readReport(value: Readonly<Record<string, unknown>>): ReportMessage | undefined {
  const { sid, event, service, up, down, ms, code, lost } = value
  if (typeof event === 'string' && event !== 'stream.end') return undefined
  const isWhole = event === 'stream.end' && isCount(up) && isCount(down) && isCount(ms)
  if (!isWhole || !matches(sid, WORD) || !matches(service, SERVICE)) throw violation('A report that is not whole')
  if (code !== undefined && !matches(code, CODE)) throw violation('A report with a code that is none')
  if (lost !== undefined && !isCount(lost)) throw violation('A report of lost ones that is no number')
  return {
    type: 'report',
    sid,
    event,
    service,
    up,
    down,
    ms,
    ...(code !== undefined && { code }),
    ...(lost !== undefined && { lost }),
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function matches(value: unknown, form: RegExp): value is string {
  return typeof value === 'string' && form.test(value)
}

function violation(message: string): PosternError {
  return new PosternError('PROTOCOL_VIOLATION', message)
}
