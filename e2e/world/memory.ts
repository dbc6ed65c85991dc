import type { ChildProcess } from 'node:child_process'
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'

/** Bytes that are looked at together. */
const PART = 4 * 2 ** 20

/**
 * How often each of these words is in the memory of a process that it can write to: heap, stacks, buffers, the copies that nobody
 * uses any more. As bytes, and as V8 keeps strings of two bytes a letter. The process stands still meanwhile.
 */
export function searchMemory(
  { pid, kill }: Stoppable,
  words: Readonly<Record<string, string>>,
): Record<string, number> {
  const forms = Object.entries(words).flatMap(([name, word]) =>
    (['latin1', 'utf16le'] as const).map(form => ({ name, bytes: Buffer.from(word, form) })),
  )
  const overlap = Math.max(...forms.map(({ bytes }) => bytes.length))
  const found = Object.fromEntries(Object.keys(words).map(name => [name, 0]))
  kill('SIGSTOP')
  const memory = openSync(`/proc/${pid}/mem`, 'r')
  try {
    const part = Buffer.alloc(PART + overlap)
    for (const [, from = '', to = ''] of readFileSync(`/proc/${pid}/maps`, 'latin1').matchAll(MAP)) {
      for (let at = Number.parseInt(from, 16); at < Number.parseInt(to, 16); at += PART) {
        const length = read(memory, part, at, Math.min(part.length, Number.parseInt(to, 16) - at))
        for (const { name, bytes } of forms) found[name] = (found[name] ?? 0) + count(part, bytes, length)
      }
    }
  } finally {
    closeSync(memory)
    kill('SIGCONT')
  }
  return found
}

/** Of a child, without the child's word for itself. */
export interface Stoppable {
  readonly pid: number
  kill(signal: NodeJS.Signals): void
}

export function stoppable(child: ChildProcess): Stoppable {
  return { pid: child.pid ?? -1, kill: signal => void child.kill(signal) }
}

/** Writable ranges of /proc/PID/maps. */
const MAP = /^([0-9a-f]+)-([0-9a-f]+) rw/gm

/** A range that went away, or that the kernel keeps for itself, has nothing in it. */
function read(memory: number, into: Buffer, at: number, length: number): number {
  try {
    return readSync(memory, into, 0, length, at)
  } catch {
    return 0
  }
}

/** What begins in the overlap is counted with the next part. */
function count(part: Buffer, word: Buffer, length: number): number {
  const whole = part.subarray(0, length)
  let times = 0
  for (let at = whole.indexOf(word); at !== -1 && at < PART; at = whole.indexOf(word, at + 1)) times += 1
  return times
}
