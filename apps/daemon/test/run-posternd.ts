import { createRedactor } from '@postern/options'
import type { Program } from '@postern/program'
import { type RecordingLog, recordingLog } from '@postern/testkit'
import { posternd } from '../src/posternd.ts'

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv
  readonly log?: RecordingLog
  readonly cwd?: string
}

/** Runs a command of posternd to its end, in this process. @returns what it prints */
export async function runPosternd(argv: readonly string[], options: RunOptions = {}): Promise<string> {
  const { env = {}, log = recordingLog(), cwd = '/' } = options
  const never = new AbortController().signal
  let printed = ''
  const program: Program = {
    argv,
    env,
    cwd,
    stop: { gently: never, now: never, onHangup: () => {}, [Symbol.dispose]: () => {} },
    redactor: createRedactor(),
    print: text => {
      printed += text
    },
    log: () => log,
    json: argv.includes('--json'),
  }
  await posternd(program, { signal: AbortSignal.timeout(30_000), log })
  return printed
}
