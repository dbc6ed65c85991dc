import { type ExecFileSyncOptions, execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Place } from './joined.ts'

/** Why there can be none here, or undefined. */
export const WITHOUT_NAMESPACES: string | undefined = lacking()

function lacking(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'needs root on Linux'
  const name = `postern-probe-${process.pid}`
  try {
    ip('netns', 'add', name)
    ip('netns', 'del', name)
    return undefined
  } catch {
    return 'needs apt-get install iproute2, and a kernel with network namespaces'
  }
}

let made = 0

/** A network namespace: a machine of its own, as far as the network is concerned, with its own names in /etc/hosts. */
export class Namespace implements Disposable {
  readonly name = `postern-${process.pid}-${made++}`
  readonly #files: string

  constructor() {
    this.#files = join('/etc/netns', this.name)
    mkdirSync(this.#files, { recursive: true })
    this.names({})
    writeFileSync(join(this.#files, 'host.conf'), 'multi on\n')
    writeFileSync(join(this.#files, 'nsswitch.conf'), 'hosts: files\n')
    ip('netns', 'add', this.name)
    this.run('ip', 'link', 'set', 'lo', 'up')
  }

  get place(): Place {
    return { through: ['ip', 'netns', 'exec', this.name] }
  }

  /** What its programs find from now on: each name and all its addresses. The same file, since it is mounted. */
  names(all: Readonly<Record<string, readonly string[]>>): void {
    const lines = Object.entries(all).flatMap(([name, addresses]) => addresses.map(one => `${one} ${name}\n`))
    writeFileSync(join(this.#files, 'hosts'), `127.0.0.1 localhost\n${lines.join('')}`)
  }

  /** Runs a program in it to its end. @throws what it said */
  run(...words: readonly string[]): string {
    return ip('netns', 'exec', this.name, ...words)
  }

  [Symbol.dispose](): void {
    ip('netns', 'del', this.name)
    rmSync(this.#files, { recursive: true, force: true })
  }
}

function ip(...words: readonly string[]): string {
  const options: ExecFileSyncOptions = { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' }
  return String(execFileSync('ip', words, options))
}
