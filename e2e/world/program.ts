import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../..')

/** What is typed, and where its script is. */
const PROGRAMS = {
  postern: 'apps/cli/bin/postern.js',
  posternd: 'apps/daemon/bin/posternd.js',
  'postern-edge': 'apps/edge/bin/postern-edge.js',
  'postern-dev': 'apps/dev/bin/postern-dev.js',
} as const
export type ProgramName = keyof typeof PROGRAMS

export function scriptOf(name: ProgramName): string {
  return join(root, PROGRAMS[name])
}

/** A program at work, with everything it has said so far. */
export class Running {
  readonly child: ChildProcess
  readonly exit: Promise<number>
  stdout = ''
  stderr = ''
  #heard: (() => void)[] = []

  constructor(child: ChildProcess, name: string) {
    this.child = child
    child.stdout?.on('data', chunk => this.#hear(() => (this.stdout += chunk)))
    child.stderr?.on('data', chunk => this.#hear(() => (this.stderr += chunk)))
    this.exit = new Promise((resolve, reject) => {
      child.once('error', error => reject(new Error(`${name}: ${error.message}`)))
      child.once('close', (code, signal) => {
        this.#hear(() => {})
        resolve(code ?? (signal === 'SIGKILL' ? 137 : 128))
      })
    })
    this.exit.catch(() => {})
  }

  #hear(keep: () => void): void {
    keep()
    for (const heard of this.#heard) heard()
  }

  /** Waits for something in what it says. @throws with everything it said, when it ends or takes too long before */
  async says(what: RegExp, seconds = 30): Promise<RegExpExecArray> {
    const until = Date.now() + seconds * 1000
    for (;;) {
      const found = what.exec(this.stdout) ?? what.exec(this.stderr)
      if (found) return found
      const ended = this.child.exitCode !== null || this.child.signalCode !== null
      if (ended || Date.now() > until)
        throw new Error(
          `${ended ? `ended (${this.child.exitCode})` : 'too slow'} before it said ${what}\n${this.stdout}${this.stderr}`,
        )
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#heard.push(resolve)
      const timer = setTimeout(resolve, 500)
      await promise
      clearTimeout(timer)
      this.#heard = this.#heard.filter(one => one !== resolve)
    }
  }

  /** Ends it, whatever it takes. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill(signal)
    const late = setTimeout(() => this.child.kill('SIGKILL'), 15_000)
    try {
      return await this.exit
    } finally {
      clearTimeout(late)
    }
  }
}

/** Starts one of our programs under this Node. @param through what starts it, and is replaced by it: `ip netns exec NAME` */
export function start(
  name: ProgramName,
  args: readonly string[],
  { through = [], ...options }: SpawnOptions & { readonly through?: readonly string[] } = {},
): Running {
  const [program = process.execPath, ...words] = [...through, process.execPath, scriptOf(name), ...args]
  return new Running(
    spawn(program, words, {
      stdio: ['pipe', 'pipe', 'pipe'],
      ...options,
      env: { ...process.env, POSTERN_HOME: '/nonexistent', ...options.env },
    }),
    name,
  )
}

/** Runs a foreign program to its end. */
export function run(
  command: string,
  args: readonly string[],
  options: SpawnOptions & { readonly input?: string | Buffer } = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const { input, ...rest } = options
  const running = new Running(
    spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], timeout: 80_000, ...rest }),
    command,
  )
  running.child.stdin?.on('error', () => {})
  running.child.stdin?.end(input ?? '')
  return running.exit.then(code => ({ code, stdout: running.stdout, stderr: running.stderr }))
}
