import type { Duplex } from 'node:stream'
import type { Reader } from './turn.ts'

const MIB = 1024 * 1024
/** What each direction whose reader is behind may hold in any case. */
const LEAST = 64 * 1024
/** Of who said nothing: all of them together. */
const NOBODYS = 32 * MIB

/**
 * What may wait for readers that are behind or stopped, of all streams of one visitor, say. A MiB for each as long as that is within the
 * budget, then less and less: so a thousand that never read hold some hundred MiB, and not a thousand.
 */
export class Budget {
  /** @internal Behind it, among those of whom somebody rests. */
  next: Budget | undefined
  readonly #bytes: number
  #behind = 0
  /** Who rests until others were read from, in order. */
  #first: Reader | undefined
  #last: Reader | undefined

  /** @param bytes that readers which are behind share, at least 1 MiB */
  constructor(bytes: number) {
    this.#bytes = bytes
  }

  /** Directions that hold something their reader has not taken yet. */
  get behind(): number {
    return this.#behind
  }

  /** Bytes that may wait for one more of them. */
  get each(): number {
    return this.#behind * MIB < this.#bytes ? MIB : Math.max(LEAST, this.#bytes / this.#behind)
  }

  /** @internal One falls behind, or catches up. */
  count(change: 1 | -1): void {
    this.#behind += change
  }

  /** @internal */
  get hasResting(): boolean {
    return this.#first !== undefined
  }

  /** @internal @returns whether it is the first */
  rests(reader: Reader): boolean {
    const isFirst = this.#last === undefined
    reader.next = undefined
    if (this.#last === undefined) this.#first = reader
    else this.#last.next = reader
    this.#last = reader
    return isFirst
  }

  /** @internal Who has rested longest. */
  rested(): Reader | undefined {
    const reader = this.#first
    this.#first = reader?.next
    if (this.#first === undefined) this.#last = undefined
    return reader
  }
}

/** The budgets that a stream counts in: its visitor’s first, then those of more than that. */
export type Room = readonly [Budget, ...Budget[]]

const rooms = new WeakMap<Duplex, Room>()
const nobodys: Room = [new Budget(NOBODYS)]

/** Says in which budgets a stream counts, for whoever pumps it from now on. Without a word it counts in one of the whole process. */
export function takeRoom(stream: Duplex, room: Room): void {
  rooms.set(stream, room)
}

/** What counted for one counts for what took its place. */
export function moveRoom(from: Duplex, to: Duplex): void {
  const room = rooms.get(from)
  if (room !== undefined) rooms.set(to, room)
}

/** Of two streams that are joined. */
export function roomOf(a: Duplex, b: Duplex): Room {
  return rooms.get(a) ?? rooms.get(b) ?? nobodys
}

/** Bytes that may wait for one more reader that is behind. */
export function eachOf(room: Room): number {
  let least = room[0].each
  for (let n = 1; n < room.length; n++) least = Math.min(least, room[n]!.each)
  return least
}

/** One of them falls behind, or catches up. */
export function countIn(room: Room, change: 1 | -1): void {
  for (let n = 0; n < room.length; n++) room[n]!.count(change)
}
