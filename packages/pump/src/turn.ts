import type { Budget } from './room.ts'

/**
 * Bytes that are read in one turn of the loop. Whoever has been read from by then rests until the others were: hundreds of streams with a MiB
 * each to read were measured to take 60 MiB a turn, while everybody else waited.
 */
const TURN = 256 * 1024
/** The same for one alone, which costs more for each of its rests. */
const ALONE = 1024 * 1024
/** Turns for which nobody is alone after another visitor was read from, however little that was. */
const COMPANY = 64
/** Bytes of one read. */
const CHUNK = 64 * 1024
/** Bytes up to which a read costs nobody anything. */
const LITTLE = 4 * 1024

/** A direction that may rest. */
export interface Reader {
  /** Behind it, among those of the same visitor. */
  next: Reader | undefined
  goOn(): void
}

let taken = 0
/** Who has taken all of it. */
let alone: Reader | undefined
/** The visitor who was read much from last, and turns for which somebody else is there. */
let busy: Budget | undefined
let company = 0
let isSet = false
/** Visitors of whom somebody rests, in the order in which they go on. */
let first: Budget | undefined
let last: Budget | undefined

/** Counts what was read. @returns whether that is enough for this turn of the loop */
export function isEnough(bytes: number, reader: Reader, whose: Budget): boolean {
  if (bytes <= LITTLE) {
    if (whose !== busy) company = COMPANY
    return false
  }
  busy = whose
  if (taken === 0) alone = reader
  else if (alone !== reader) alone = undefined
  taken += bytes
  if (!isSet) set()
  return taken > (alone === undefined || company > 0 ? TURN : ALONE)
}

/** Goes on in one of the next turns: visitors go on by turns, and so do the readers of each. */
export function rest(reader: Reader, budget: Budget): void {
  if (budget.rests(reader)) append(budget)
}

function append(budget: Budget): void {
  budget.next = undefined
  if (last === undefined) first = budget
  else last.next = budget
  last = budget
}

function set(): void {
  isSet = true
  setImmediate(nextTurn)
}

function nextTurn(): void {
  isSet = false
  taken = 0
  alone = undefined
  if (company > 0) company -= 1
  for (let n = 0; n < TURN / CHUNK && first !== undefined; n++) {
    const budget = first
    first = budget.next
    if (first === undefined) last = undefined
    const reader = budget.rested()
    if (budget.hasResting) append(budget)
    reader?.goOn()
  }
  // Whoever goes on may have nothing to read.
  if (first !== undefined && !isSet) set()
}
