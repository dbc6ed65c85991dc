import { type Call, type Logger, PosternError } from '@postern/interface'
import { createRedactor, type Redactor } from '@postern/options'
import { describeFailure, exitCodeOf } from './failure.ts'
import { createLog, LEVELS, type Level } from './log.ts'
import { onStop, Stopped, type Stopping } from './signals.ts'

const LEFT_OPEN = 2_000

/** The flags of every program. */
export const PROGRAM_FLAGS = {
  json: { type: 'boolean', default: false, summary: 'machine-readable results, errors and log', env: ['POSTERN_JSON'] },
  logLevel: {
    type: 'string',
    default: 'info',
    summary: 'the least to log: debug, info, warn, error or silent',
    env: ['POSTERN_LOG_LEVEL'],
  },
  help: { type: 'boolean', default: false, aliases: ['h'], summary: 'this text' },
} as const

/** What a program's work is given. */
export interface Program {
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  readonly stop: Stopping
  readonly redactor: Redactor
  /** Results only. */
  print(text: string): void
  /** The log, on stderr, as the user wants it. */
  log(level: Level): Logger
  readonly json: boolean
}

/**
 * Runs a program's work and ends the process: 0, the status of docs/errors.md that belongs to what was thrown, or 128 plus the
 * signal's number after a stop that the work did not take as its end.
 */
export async function runProgram(name: string, work: (program: Program, call: Call) => Promise<void>): Promise<void> {
  const argv = process.argv.slice(2)
  const json = argv.includes('--json') || process.env.POSTERN_JSON === 'true' // known before parsing, so that its errors obey it
  const redactor = createRedactor()
  using stop = onStop()
  const log = (level: Level) =>
    createLog({ level, json, write: line => void process.stderr.write(line), redact: text => redactor.scrub(text) })
  const program: Program = {
    argv,
    env: process.env,
    cwd: process.cwd(),
    stop,
    redactor,
    print: text => void process.stdout.write(text),
    log,
    json,
  }
  try {
    await work(program, { signal: stop.now, log: log('info') })
  } catch (error) {
    if (error instanceof Stopped) process.exitCode = error.exit
    else {
      process.exitCode = exitCodeOf(error)
      const debug = argv.includes('debug') || argv.includes('--log-level=debug')
      process.stderr.write(redactor.scrub(describeFailure(name, error, { json, debug })))
    }
  }
  // All is closed by now and the process ends by itself. Should a plugin have left something open, it does not wait for it.
  setTimeout(() => process.exit(), LEFT_OPEN).unref()
}

/** @throws PosternError OPTION_INVALID */
export function readLevel(text: string): Level {
  const level = LEVELS.find(one => one === text)
  if (!level)
    throw new PosternError(
      'OPTION_INVALID',
      `--log-level is one of ${LEVELS.join(', ')}, not ${JSON.stringify(text.slice(0, 40))}`,
    )
  return level
}
