import { type Json, PosternError } from '@postern/interface'
import { fitDetail, fitWord } from './notes.ts'

/** The edge asks a daemon to dial a pipe for one client, who waits for it. */
export interface JoinMessage {
  readonly type: 'join'
  /** What the daemon shows when it comes, once: 26 characters of base32 in lower case, 128 random bits. */
  readonly ticket: string
  /** 1–128 visible ASCII characters: finds the client's admission in the audit log. */
  readonly requestId: string
  /** The application's: lower case, 1–253 characters of a name. */
  readonly hostname: string
  /** Transports by which the daemon may come with the ticket and no credential: 1–8 names. Absent: none. */
  readonly legs?: readonly string[]
  /** Tells clients of one visitor from those of others, and nothing else: 1–64 characters of base64url. Absent: an older edge. */
  readonly visitor?: string
}

/** A daemon is about to come for a join: the client may hear yes meanwhile, which is a round trip less. */
export interface ComingMessage {
  readonly type: 'coming'
  readonly ticket: string
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

/** A daemon tells what a protocol saw in one stream, in either mode: {@link ProtocolEvent}, made fit by whoever tells and by whoever reads. */
export interface NoteMessage {
  readonly type: 'note'
  /** Of the grant, or of the stream’s header: 1–128 visible ASCII characters. */
  readonly sid: string
  /** As in {@link ReportMessage}. */
  readonly service: string
  readonly action: string
  readonly allowed: boolean
  readonly detail?: Json
}

/**
 * The edge is about to cut one end-to-end session, and says why to the daemon, which alone can tell the client. It does not wait for the
 * daemon longer than a moment.
 */
export interface JoinCutMessage {
  readonly type: 'join-cut'
  /** Of the grant: 1–128 visible ASCII characters. */
  readonly sid: string
  /** Capitals, digits and underscores: a later version may know more codes. */
  readonly code: string
  /** For people: 1–256 characters. */
  readonly message?: string
}

/** The edge signs grants with other keys from now on: a JWS by one that the daemon knows already, at most 8 KiB. */
export interface GrantKeysMessage {
  readonly type: 'grant-keys'
  readonly token: string
}

/** What the hosts of two tunnels tell each other beside the streams. */
export type HostMessage =
  | JoinMessage
  | ComingMessage
  | DeclineMessage
  | ReportMessage
  | NoteMessage
  | JoinCutMessage
  | GrantKeysMessage

const TICKET = /^[a-z2-7]{26}$/
const WORD = /^[\x21-\x7e]{1,128}$/
const HOSTNAME = /^[a-z0-9_][a-z0-9_.-]{0,252}$/
const SERVICE = /^[\x21-\x7e]{1,64}$/
const TRANSPORT = /^[a-z0-9-]{1,32}$/
const MOST_LEGS = 8
const VISITOR = /^[A-Za-z0-9_-]{1,64}$/
const CODE = /^[A-Z][A-Z0-9_]{0,63}$/
const TOKEN = /^[A-Za-z0-9_.-]{1,8192}$/
const LONGEST_WORDS = 256

/**
 * Reads one of them strictly. Members that are not known are of a later version, and left out.
 *
 * @returns undefined for a type that is not known
 * @throws PosternError PROTOCOL_VIOLATION for one that is known and cannot be
 */
export function readMessage(value: Readonly<Record<string, unknown>>): HostMessage | undefined {
  if (value.type === 'join') return readJoin(value)
  if (value.type === 'coming') return readComing(value)
  if (value.type === 'decline') return readDecline(value)
  if (value.type === 'join-cut') return readJoinCut(value)
  if (value.type === 'grant-keys') return readGrantKeys(value)
  if (value.type === 'note') return readNote(value)
  return value.type === 'report' ? readReport(value) : undefined
}

function readJoin({ ticket, requestId, hostname, legs, visitor }: Readonly<Record<string, unknown>>): JoinMessage {
  if (!matches(ticket, TICKET) || !matches(requestId, WORD) || !matches(hostname, HOSTNAME))
    throw violation('A join that is not whole')
  if (legs !== undefined && !areLegs(legs)) throw violation('A join by transports that are none')
  if (visitor !== undefined && !matches(visitor, VISITOR)) throw violation('A join for a visitor that is none')
  return { type: 'join', ticket, requestId, hostname, ...(legs && { legs }), ...(visitor !== undefined && { visitor }) }
}

function areLegs(legs: unknown): legs is readonly string[] {
  return (
    Array.isArray(legs) && legs.length > 0 && legs.length <= MOST_LEGS && legs.every(name => matches(name, TRANSPORT))
  )
}

function readComing({ ticket }: Readonly<Record<string, unknown>>): ComingMessage {
  if (!matches(ticket, TICKET)) throw violation('A daemon comes for a join that is none')
  return { type: 'coming', ticket }
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

function readNote({ sid, service, action, allowed, detail }: Readonly<Record<string, unknown>>): NoteMessage {
  const isWhole = matches(sid, WORD) && matches(service, SERVICE) && typeof action === 'string'
  if (!isWhole || typeof allowed !== 'boolean') throw violation('A note that is not whole')
  const fit = fitDetail(detail)
  return { type: 'note', sid, service, action: fitWord(action), allowed, ...(fit !== undefined && { detail: fit }) }
}

function readJoinCut({ sid, code, message }: Readonly<Record<string, unknown>>): JoinCutMessage {
  if (!matches(sid, WORD) || !matches(code, CODE)) throw violation('A cut of a session that is not whole')
  if (message !== undefined && (typeof message !== 'string' || message === '' || message.length > LONGEST_WORDS))
    throw violation('A cut of a session with words that are none')
  return { type: 'join-cut', sid, code, ...(message !== undefined && { message }) }
}

function readGrantKeys({ token }: Readonly<Record<string, unknown>>): GrantKeysMessage {
  if (!matches(token, TOKEN)) throw violation('Keys of grants that are no token')
  return { type: 'grant-keys', token }
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
