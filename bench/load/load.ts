import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { find } from '../../scripts/peers.mjs'
import { ENVIRONMENT } from '../processes.ts'

/** What the generator can be asked for; README.md says what each does. */
export type Kind = 'reach' | 'connect' | 'down' | 'up' | 'request' | 'ping' | 'gap' | 'hold' | 'stall'

export interface Work {
  readonly kind: Kind
  readonly port: number
  readonly seconds: number
  /** Connections at once. */
  readonly parallel: number
}

/** How it went. Times in µs. */
export interface Worked {
  readonly seconds: number
  /** Of all streams together, of the least and of the most served. */
  readonly bytes: number
  readonly least: number
  readonly most: number
  /** Connections or answers. */
  readonly count: number
  readonly p50: number
  readonly p99: number
}

/** Where the two run. */
export interface LoadPlace {
  /** The service's address. */
  readonly address: string
  /** The address that the generator connects to. */
  readonly target: string
  /** What their command lines begin with. */
  readonly near: readonly string[]
  readonly far: readonly string[]
}

const HERE: LoadPlace = { address: '127.0.0.1', target: '127.0.0.1', near: [], far: [] }
/** Seconds beside those that it measures. */
const PATIENCE = 90

/** The generator says that it did not go. */
class Refused extends Error {}

/** One process of the load, which is told a line at a time and answers in lines. */
class Half {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>
  readonly #lines: AsyncIterator<string>
  readonly #gone: Promise<unknown>

  constructor([program = '', ...args]: readonly string[]) {
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'], env: ENVIRONMENT })
    this.#child.stdin.on('error', () => {}) // it has ended: what waits for its next line says so
    this.#gone = once(this.#child, 'close')
    this.#lines = createInterface(this.#child.stdout)[Symbol.asyncIterator]()
  }

  tell(line: string): void {
    this.#child.stdin.write(`${line}\n`)
  }

  /** The next that it says; they are kept until they are asked for. @throws Error when it ends or is silent that long */
  async line(seconds = PATIENCE): Promise<string> {
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(() => late.reject(new Error('the load says nothing')), seconds * 1000)
    try {
      const next = await Promise.race([this.#lines.next(), late.promise])
      if (next.done) throw new Error('the load has ended')
      return next.value
    } finally {
      clearTimeout(timer)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGKILL')
    await this.#gone
  }
}

/** Load generator and service: the same two processes for every peer, and never part of a peer's figures. */
export class Load implements AsyncDisposable {
  readonly #generator: Half
  readonly #service: Half
  readonly #target: string
  port = 0

  private constructor(program: readonly string[], place: LoadPlace) {
    this.#target = place.target
    this.#generator = new Half([...place.far, ...program, 'drive'])
    this.#service = new Half([...place.near, ...program, 'serve', place.address])
  }

  /** @param program what {@link loadProgram} said */
  static async start(program: readonly string[], place: LoadPlace = HERE): Promise<Load> {
    const load = new Load(program, place)
    try {
      load.port = Number(await load.#service.line())
      return load
    } catch (error) {
      await load[Symbol.asyncDispose]()
      throw error
    }
  }

  /**
   * @param mark called when counting begins, and again when it is over
   * @throws Error when anything was refused, ended early or silent
   */
  async do({ kind, port, seconds, parallel }: Work, mark: () => void | Promise<void> = () => {}): Promise<Worked> {
    this.#generator.tell(`${kind} ${this.#target} ${port} ${seconds} ${parallel}`)
    let first = { taken: 0, at: 0 }
    for (;;) {
      const line = await this.#generator.line(seconds + PATIENCE)
      if (line === 'begin') {
        await mark()
        if (kind === 'up') first = await this.#taken()
        continue
      }
      const { failed, ...worked } = JSON.parse(line) as Worked & { readonly failed?: string }
      if (failed !== undefined) throw new Refused(`${kind}: ${failed}`)
      await mark()
      if (kind !== 'up') return worked
      const last = await this.#taken()
      return { ...worked, bytes: last.taken - first.taken, seconds: (last.at - first.at) / 1e6 }
    }
  }

  /** Whether a port leads to the service: it greets whoever comes. @throws Error when the load itself has ended */
  async reaches(port: number): Promise<boolean> {
    try {
      await this.do({ kind: 'reach', port, seconds: 0, parallel: 1 })
      return true
    } catch (error) {
      if (error instanceof Refused) return false
      throw error
    }
  }

  /** What the service has read so far, by its own clock in µs. */
  async #taken(): Promise<{ readonly taken: number; readonly at: number }> {
    this.#service.tell('taken')
    return JSON.parse(await this.#service.line())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#generator[Symbol.asyncDispose](), this.#service[Symbol.asyncDispose]()])
  }
}

/** The command line of the load: C where there is a compiler, which costs the machine less, else Node. */
export function loadProgram(folder: string, { c = true } = {}): { readonly language: 'C' | 'Node'; words: string[] } {
  const compiler = c ? find('cc') : undefined
  if (compiler === undefined)
    return { language: 'Node', words: [process.execPath, join(import.meta.dirname, 'node.ts')] }
  const binary = join(folder, 'load')
  const sources = ['main.c', 'serve.c', 'drive.c'].map(name => join(import.meta.dirname, name))
  execFileSync(compiler, ['-O2', '-o', binary, ...sources], { stdio: ['ignore', 'inherit', 'inherit'] })
  return { language: 'C', words: [binary] }
}
