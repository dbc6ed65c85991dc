import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'

const START_DEADLINE = 60_000
/** Ticks a second in /proc/PID/stat: 100 on every Linux that Node runs on (`getconf CLK_TCK`). */
const TICKS = 100

/** The environment of whatever is measured: `NODE_EXTRA_CA_CERTS` would cost every start of Node 135 ms. */
export const ENVIRONMENT: NodeJS.ProcessEnv = { ...process.env, POSTERN_HOME: '/nonexistent', NODE_OPTIONS: '' }
delete ENVIRONMENT.NODE_EXTRA_CA_CERTS

/** A process of a peer, with whatever it starts. */
export class Started implements AsyncDisposable {
  readonly child: ChildProcess
  readonly pid: number
  readonly #what: string
  readonly #gone: Promise<void>
  #said = ''

  /** @param more of its environment */
  constructor(
    program: string,
    args: readonly string[],
    more: NodeJS.ProcessEnv = {},
    stdin: 'ignore' | 'pipe' = 'ignore',
  ) {
    this.#what = [program, ...args]
      .map(word => word.split('/').at(-1))
      .slice(0, 3)
      .join(' ')
    this.child = spawn(program, args, { stdio: [stdin, 'pipe', 'pipe'], env: { ...ENVIRONMENT, ...more } })
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

/**
 * Megabytes (10⁶) that these processes and whatever they started hold: `rss` counts what they share in each of them, `pss` once in all.
 * From /proc/PID/smaps_rollup, see proc(5).
 */
export function memory(pids: readonly number[]): { readonly rss: number; readonly pss: number } {
  const held = { rss: 0, pss: 0 }
  for (const pid of pidsOf(pids)) {
    const text = read(`/proc/${pid}/smaps_rollup`)
    held.rss += kilobytes(text, 'Rss')
    held.pss += kilobytes(text, 'Pss')
  }
  return held
}

function kilobytes(text: string, field: string): number {
  return (Number(new RegExp(`^${field}: +(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0) * 1024) / 1e6
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return '' // gone meanwhile
  }
}

/** Processor time since it was made, of this process's family and of everybody. */
export class Watch {
  readonly #own = cpuSeconds([process.pid])
  readonly #all = busySeconds()
  readonly #began = performance.now()

  /** The part of all processors' time that went to others, 0 to 1. */
  foreign(): number {
    const own = cpuSeconds([process.pid]) - this.#own
    const passed = ((performance.now() - this.#began) / 1000) * availableParallelism()
    return Math.max(0, busySeconds() - this.#all - own) / passed
  }
}

/** Of all processors, from proc(5): user, nice, system, and what another machine took of them; not what interrupts cost. */
function busySeconds(): number {
  const [user = 0, nice = 0, system = 0, , , , , steal = 0] = read('/proc/stat').split(/\s+/).slice(1, 9).map(Number)
  return (user + nice + system + steal) / TICKS
}

/** Whether a TCP port is listened at, where this process is, without connecting to it. From /proc/PID/net/tcp, see proc(5): 0A is LISTEN. */
export function isListening(port: number, pid: number): boolean {
  const hex = port.toString(16).toUpperCase().padStart(4, '0')
  return new RegExp(`^ *\\d+: [0-9A-F]{8}:${hex} [0-9A-F:]+ 0A `, 'm').test(read(`/proc/${pid}/net/tcp`))
}
