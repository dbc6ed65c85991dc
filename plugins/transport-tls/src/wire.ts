import type { IncomingMessage } from 'node:http'
import type { PipePurpose } from '@postern/interface'

/** What an HTTP/1.1 connection is upgraded to: bytes, as they are. */
export const PROTOCOL = 'postern/1'
/** What an upgrade asks for. */
export const PURPOSE_HEADER = 'postern-purpose'
/** The name, in the edge's answer, under which an end-to-end client is waited for: `<ticket>.<team domain>`. */
export const TICKET_HEADER = 'postern-ticket'
/** What an edge says of a join whose bytes are not its own to read. */
export const MODE_HEADER = 'postern-mode'
export const END_TO_END = 'end-to-end'
/** With which a daemon tells for whom it comes. */
export const JOIN_HEADER = 'postern-join'

/** 128 random bits in base32 of lower case: an SNI has no other. */
export const TICKET = /^[a-z2-7]{26}$/

/** What a daemon's connection begins with, before the TLS that it is the server of: this, its ticket, and a line feed. */
export const PREFACE = 'POSTERN-JOIN/1 '
/** Bytes. */
export const PREFACE_LENGTH: number = PREFACE.length + 26 + 1
/** What the edge answers to that. What follows is the client's. */
export const WELCOME = 'POSTERN-JOIN/1 ok\n'
/** What it answers where nobody waits with that ticket: as long as the other. */
export const UNWANTED = 'POSTERN-JOIN/1 no\n'

const PURPOSES: ReadonlySet<string> = new Set<PipePurpose>(['session', 'connector', 'join'])

/** A foreign client's TCP connection (`raw`) has WebSocket's framing, and no place here. */
export function isPurpose(word: string | undefined): word is Exclude<PipePurpose, 'raw'> {
  return word !== undefined && PURPOSES.has(word)
}

/** The protocols of ours that a request wants to upgrade to, in whatever version and spelling. */
export function wantsUpgrade({ headersDistinct }: IncomingMessage): boolean {
  return (headersDistinct.upgrade ?? []).some(value => /^\s*postern\//i.test(value))
}
