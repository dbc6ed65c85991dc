/** The first message of each side: a TPKT (RFC 1006) with an X.224 connection request or confirm, [MS-RDPBCGR] 2.2.1.1 and 2.2.1.2. */

/** What a client asks for. */
export interface Asked {
  /** What `Cookie: mstshash=` says: mostly the name to sign in with, cut to nine characters by Windows. */
  readonly cookie?: string
  /** What stands in a cookie’s place otherwise: a load balancer’s token. */
  readonly token?: string
  /** The security it can do, for example `['tls', 'nla']`; `['rdp']` is that of old. */
  readonly requested: readonly string[]
}

/** What the server makes of it. */
export type Answered = { readonly selected: string } | { readonly refused: string }

/** Bytes before the part whose length varies: TPKT 4, length indicator 1, code 1, two references of 2, class 1. */
const FIXED = 11
/** The length indicator is one byte, 255 is reserved (X.224, 13.2.1), and stands behind four bytes and itself. */
export const LONGEST = 4 + 1 + 254

const REQUEST = 0xe0
const CONFIRM = 0xd0
/** The types of what is negotiated: 2.2.1.1.1, 2.2.1.2.1, 2.2.1.2.2. */
const [ASKS, TAKES, REFUSES] = [1, 2, 3]
const NEGOTIATION = 8

const PROTOCOLS: readonly (readonly [bit: number, name: string])[] = [
  [1, 'tls'],
  [2, 'nla'],
  [4, 'rdstls'],
  [8, 'nla-ex'],
  [16, 'aad'],
]

/** 2.2.1.2.2 */
const REFUSALS = [
  'tls required',
  'tls not allowed',
  'no certificate on the server',
  'inconsistent flags',
  'nla required',
  'tls with a client certificate required',
]

const LONGEST_TEXT = 64

/** How long the message is. @returns undefined: too little is there to know; 0: it can be none */
export function lengthOf(head: Buffer): number | undefined {
  if (head.length < 4) return isTpkt(head) ? undefined : 0
  const length = head.readUInt16BE(2)
  return isTpkt(head) && length >= FIXED && length <= LONGEST ? length : 0
}

/** From the first byte on: what begins otherwise is no RDP, and nothing more of it is waited for. */
function isTpkt(head: Buffer): boolean {
  return (head[0] ?? 3) === 3 && (head[1] ?? 0) === 0
}

/** @returns undefined: it is none */
export function readAsked(message: Buffer): Asked | undefined {
  const rest = bodyOf(message, REQUEST)
  if (rest === undefined) return undefined
  const end = rest.indexOf('\r\n')
  // A negotiation begins with 1, and no text does.
  const hasText = end >= 0 && rest[0] !== ASKS
  const text = hasText ? rest.toString('latin1', 0, end) : ''
  const asks = hasText ? rest.subarray(end + 2) : rest
  const cookie = /^Cookie: mstshash=(.*)$/s.exec(text)?.[1]
  const said = cookie !== undefined ? { cookie: fit(cookie) } : hasText ? { token: fit(text) } : {}
  if (asks.length === 0) return { ...said, requested: ['rdp'] }
  // Behind it there may be a correlation id: 2.2.1.1.2.
  if (!isNegotiation(asks, ASKS)) return undefined
  return { ...said, requested: protocolsOf(asks.readUInt32LE(4)) }
}

/** @returns undefined: it is none */
export function readAnswered(message: Buffer): Answered | undefined {
  const rest = bodyOf(message, CONFIRM)
  if (rest === undefined) return undefined
  if (rest.length === 0) return { selected: 'rdp' }
  if (isNegotiation(rest, TAKES)) return { selected: protocolsOf(rest.readUInt32LE(4)).join(' ') }
  if (!isNegotiation(rest, REFUSES)) return undefined
  const code = rest.readUInt32LE(4)
  return { refused: REFUSALS[code - 1] ?? `code ${code}` }
}

function bodyOf(message: Buffer, code: number): Buffer | undefined {
  const isIt = lengthOf(message) === message.length && message[4] === message.length - 5 && message[5] === code
  return isIt ? message.subarray(FIXED) : undefined
}

function isNegotiation(part: Buffer, type: number): boolean {
  return part.length >= NEGOTIATION && part[0] === type && part.readUInt16LE(2) === NEGOTIATION
}

function protocolsOf(bits: number): readonly string[] {
  if (bits === 0) return ['rdp']
  const known = PROTOCOLS.filter(([bit]) => bits & bit)
  const others = known.reduce((left, [bit]) => left & ~bit, bits) >>> 0
  return [...known.map(([, name]) => name), ...(others === 0 ? [] : [`0x${others.toString(16)}`])]
}

/** Somebody’s bytes as text for a log. */
function fit(text: string): string {
  return text.slice(0, LONGEST_TEXT).replace(/[^\x20-\x7e]/g, '?')
}
