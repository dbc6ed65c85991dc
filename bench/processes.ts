import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

const START_DEADLINE = 30_000
/** Ticks a second in /proc/PID/stat: 100 on every Linux that Node runs on (`getconf CLK_TCK`). */
const TICKS = 100

/** The environment of whatever is measured: `NODE_EXTRA_CA_CERTS` would cost every start of Node 135 ms. */
export const ENVIRONMENT: NodeJS.ProcessEnv = { ...process.env, POSTERN_HOME: '/nonexistent', NODE_OPTIONS: '' }
delete ENVIRONMENT.NODE_EXTRA_CA_CERTS

/** A process of a peer. */
export class Started implements AsyncDisposable {
  readonly child: ChildProcess
  readonly pid: number
  readonly #what: string
  readonly #gone: Promise<void>
  #said = ''

  constructor(program: string, args: readonly string[]) {
    this.#what = [program, ...args]
      .map(word => word.split('/').at(-1))
      .slice(0, 3)
      .join(' ')
    this.child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: ENVIRONMENT })
    this.#gone = new Promise(resolve => this.child.once('close', () => resolve()).once('error', () => resolve()))
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.on('data', chunk => {
        this.#said = (this.#said + chunk).slice(-4000)
      })
    this.pid = this.child.pid ?? -1
  }

  /** Everything it has said so far. */
  get said(): string {
    return this.#said
  }

  /** @throws with what it said, when it ends or takes too long before */
  async until(ready: () => boolean | Promise<boolean>): Promise<void> {
    const late = Date.now() + START_DEADLINE
    while (!(await ready())) {
      if (this.child.exitCode !== null || this.child.pid === undefined || Date.now() > late)
        throw new Error(`${this.#what} did not start: ${this.#said.trim() || `exit code ${this.child.exitCode}`}`)
      await sleep(20)
    }
  }

  /** It has nothing to lose: it is ended the short way. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGKILL')
    await this.#gone
  }
}

interface Stat {
  readonly pid: number
  readonly parent: number
  readonly seconds: number
}

/** From proc(5): behind the name, which may hold anything, the 2nd field is the parent, the 12th to 15th are times. */
function readStat(pid: number): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = text
      .slice(text.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number)
    const [user = 0, system = 0, childrenUser = 0, childrenSystem = 0] = fields.slice(11, 15)
    return { pid, parent: fields[1] ?? 0, seconds: (user + system + childrenUser + childrenSystem) / TICKS }
  } catch {
    return undefined // gone meanwhile
  }
}

/** These processes and whatever they started. */
function familyOf(pids: readonly number[]): Stat[] {
  const all = readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .flatMap(name => readStat(Number(name)) ?? [])
  const family = new Set(pids)
  for (let before = 0; before !== family.size; ) {
    before = family.size
    for (const { pid, parent } of all) if (family.has(parent)) family.add(pid)
  }
  return all.filter(one => family.has(one.pid))
}

export function pidsOf(pids: readonly number[]): readonly number[] {
  return familyOf(pids).map(one => one.pid)
}

/** Processor seconds that these processes and whatever they started have used so far, in user and kernel. */
export function cpuSeconds(pids: readonly number[]): number {
  return familyOf(pids).reduce((sum, one) => sum + one.seconds, 0)
}
