import { type Call, type Logger, PosternError } from '@postern/interface'
import { createRedactor, type Redactor } from '@postern/options'
import { describeFailure, exitCodeOf, unwritten } from './failure.ts'
import { countHeldBuffers } from './heap.ts'
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

/** For the help of a program's first page: {@link runProgram} answers it. */
export const VERSION_FLAG = {
  version: { type: 'boolean', default: false, aliases: ['V'], summary: 'the version of this program' },
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
 * signal's number after a stop that the work did not take as its end. Whatever was thrown, nobody sees a stack trace or a secret.
 *
 * @param manifest the program's package.json, whose version `--version` alone prints
 */
export async function runProgram(
  name: string,
  work: (program: Program, call: Call) => Promise<void>,
  manifest?: URL,
): Promise<void> {
  countHeldBuffers()
  const argv = process.argv.slice(2)
  const json = wantsJson(argv)
  const redactor = createRedactor()
  const out = {
    error: writer(() => process.stderr),
    result: writer(() => process.stdout, fail),
  }
  let debug = false
  using stop = onStop()
  function fail(error: unknown) {
    const stopped = error instanceof Stopped ? error : (stop.now.reason as Stopped | undefined)
    process.exitCode = stopped?.exit ?? exitCodeOf(error)
    if (!stopped) out.error(redactor.scrub(describeFailure(name, error, { json, debug })))
  }
  process.on('uncaughtException', error => {
    fail(error)
    process.exit()
  })
  // Not everything that runs here is ours: a second Ctrl-C ends the process even where a plugin does not listen.
  stop.now.addEventListener('abort', () => setTimeout(() => process.exit(stop.now.reason.exit), LEFT_OPEN).unref())
  const log = (level: Level) => {
    debug = level === 'debug'
    return createLog({ level, json, write: out.error, redact: redactor.scrub })
  }
  const program: Program = { argv, env: process.env, cwd: process.cwd(), stop, redactor, print: out.result, log, json }
  try {
    if (manifest && argv.length === 1 && VERSION_WORDS.includes(argv[0] ?? ''))
      return program.print(await versionIn(manifest))
    await work(program, { signal: stop.now, log: log('info') })
  } catch (error) {
    fail(error)
  }
  // All is closed by now and the process ends by itself. Should a plugin have left something open, it does not wait for it.
  setTimeout(() => process.exit(), LEFT_OPEN).unref()
}

const VERSION_WORDS: readonly string[] = ['--version', '-V']

async function versionIn(manifest: URL): Promise<string> {
  const { readFile } = await import('node:fs/promises')
  const { version }: { version: string } = JSON.parse(await readFile(manifest, 'utf8'))
  return `${version}\n`
}

/** Known before parsing, so that its errors obey it. */
function wantsJson(argv: readonly string[]): boolean {
  const last = argv.findLast(word => /^--(no-)?json(=|$)/.test(word)) ?? `--json=${process.env.POSTERN_JSON}`
  return ['--json', '--json=true', '--json=1'].includes(last)
}

/** Writes to a stream. It is not touched before: it may be the pipe. @param failed told once, not of a reader that has gone */
function writer(open: () => NodeJS.WriteStream, failed?: (error: PosternError) => void): (text: string) => void {
  let stream: NodeJS.WriteStream | undefined
  const onError = (cause: Error) => {
    const error = unwritten(cause)
    if (error) failed?.(error)
  }
  return text => {
    stream ??= open()
      .once('error', onError)
      .on('error', () => {})
    stream.write(text)
  }
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
