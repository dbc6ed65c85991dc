import type { Duplex } from 'node:stream'
import { type Room, roomOf, takeRoom } from '@postern/pump'
import { YamuxStream } from '@postern/yamux'

/**
 * Says whose a stream is, for as long as it lives: whoever pumps it counts what waits for its reader in that visitor's budgets, and in the
 * session that it is of, visitors take turns with what they send, however many streams each has.
 */
export function ownedBy(stream: Duplex, room: Room): void {
  takeRoom(stream, room)
  if (stream instanceof YamuxStream) stream.ownedBy(room[0])
}

/** The same as another is, of the same visitor: the two ends of what is carried between them. */
export function ownedAs(stream: Duplex, other: Duplex): void {
  ownedBy(stream, roomOf(other, other))
}

/** Of a stream that carries several visitors by turns: it is as one of them. */
export function ownedByItself(stream: Duplex): void {
  if (stream instanceof YamuxStream) stream.ownedBy(stream)
}
