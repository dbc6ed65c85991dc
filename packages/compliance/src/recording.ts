import { inspect } from 'node:util'
import type { Fields, Logger } from '@postern/interface'

type Level = 'debug' | 'info' | 'warn' | 'error'

export interface LogLine {
  readonly level: Level
  readonly message: string
  readonly fields: Fields
}

/** A logger that keeps every line, whatever its level. */
export interface RecordingLog extends Logger {
  readonly lines: readonly LogLine[]
  /** All lines as one text, to search for what must, or must not, be there. */
  text(): string
}

export function recordingLog(): RecordingLog {
  const lines: LogLine[] = []
  const at =
    (level: Level) =>
    (message: string, fields: Fields = {}): void => {
      lines.push({ level, message, fields })
    }
  return {
    lines,
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    // Not JSON: a field may be something that JSON leaves out, an Error for instance.
    text: () => lines.map(line => inspect(line, { depth: 10, maxStringLength: null, breakLength: 1e4 })).join('\n'),
  }
}

/** Everything an error says: message, cause, fields and stack, as a careless host would print it. */
export function everythingSaid(error: unknown): string {
  return `${inspect(error, { depth: 10, showHidden: true, maxStringLength: null })}\n${String(error)}`
}

/** What was written to the terminal meanwhile: a plugin has a logger, and stdout may be somebody's pipe. */
export async function tappingOutput<T>(work: () => Promise<T>): Promise<{ readonly result: T; readonly text: string }> {
  const written: string[] = []
  const restore: (() => void)[] = []
  for (const stream of [process.stdout, process.stderr]) {
    const write = stream.write
    stream.write = ((chunk: string | Uint8Array, ...rest: never[]): boolean => {
      written.push(typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString('latin1'))
      return write.call(stream, chunk, ...rest)
    }) as typeof stream.write
    restore.push(() => {
      stream.write = write
    })
  }
  // Test frameworks put their own console in place, which does not come by stdout.
  for (const name of ['log', 'info', 'warn', 'error', 'debug'] as const) {
    const print = console[name]
    console[name] = (...words: unknown[]): void => {
      written.push(words.map(word => (typeof word === 'string' ? word : inspect(word))).join(' '))
      print.apply(console, words)
    }
    restore.push(() => {
      console[name] = print
    })
  }
  try {
    return { result: await work(), text: written.join('\n') }
  } finally {
    for (const each of restore) each()
  }
}
