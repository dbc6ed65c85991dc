import type { Duplex } from 'node:stream'
import { type Asked, LONGEST, lengthOf, readAnswered, readAsked } from './negotiation.ts'

/** How two ends came to terms, or that they did not. */
export interface Negotiated extends Partial<Asked> {
  readonly selected?: string
  readonly refused?: string
  /** Whose first message is none of RDP: it was passed on as it is. */
  readonly malformed?: 'request' | 'answer'
  /** Whose first message was never whole. */
  readonly unfinished?: 'request' | 'answer'
}

/**
 * Reads along while two ends negotiate, and no longer. It keeps copies of the first 259 bytes of each at most, takes nothing and holds
 * nothing up.
 *
 * @param tell called once, or never where the client has not sent a byte
 */
export function watchNegotiation(client: Duplex, server: Duplex, tell: (negotiated: Negotiated) => void): void {
  let asked: Asked | undefined
  const done = (negotiated?: Negotiated): void => {
    leaveClient()
    leaveServer()
    if (negotiated) tell(negotiated)
  }
  const leaveClient = readFirst(client, first => {
    if (typeof first === 'string') return done(first === 'unfinished' ? { unfinished: 'request' } : undefined)
    asked = readAsked(first)
    if (asked === undefined) done({ malformed: 'request' })
  })
  const leaveServer = readFirst(server, first => {
    if (typeof first !== 'string') return done({ ...asked, ...(readAnswered(first) ?? { malformed: 'answer' }) })
    if (asked !== undefined) done({ ...asked, unfinished: 'answer' }) // else the client’s end is told, which comes too
  })
}

/** What a stream begins with; what cannot be a message is an empty one. */
type First = Buffer | 'unfinished' | 'nothing'

/** @param take called once, unless it is left before @returns leaves it */
function readFirst(stream: Duplex, take: (first: First) => void): () => void {
  let head = Buffer.alloc(0)
  const onData = (chunk: Buffer): void => {
    head = Buffer.concat([head, chunk.subarray(0, LONGEST - head.length)])
    const length = lengthOf(head)
    if (length === undefined || length > head.length) return
    leave()
    take(head.subarray(0, length))
  }
  const onEnd = (): void => {
    leave()
    take(head.length > 0 ? 'unfinished' : 'nothing')
  }
  const leave = (): void => void stream.off('data', onData).off('end', onEnd).off('close', onEnd)
  stream.on('data', onData).on('end', onEnd).on('close', onEnd)
  return leave
}
