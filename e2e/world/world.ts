import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '@postern/dev'
import { type Running, start } from './program.ts'

/** One edge, one daemon, one application, each a process of its own on loopback. */
export interface World extends AsyncDisposable {
  readonly folder: string
  readonly hostname: string
  readonly port: number
  /** `ssh.localhost:12345` */
  readonly address: string
  /** `--id ID --secret-file FILE` */
  readonly credential: readonly string[]
  /** `--ca FILE` */
  readonly trust: readonly string[]
  readonly edge: Running
  readonly daemon: Running
  /** `postern access PROTOCOL` with everything it needs. A flag given again replaces the world's own. */
  /** `alone`: what is given names its applications itself, by `-L`. */
  access(protocol: string, extra?: readonly string[], more?: More): Running
  accessAs(credential: readonly string[], protocol: string, extra?: readonly string[], more?: More): Running
  /** A second daemon, with other flags than the world's. */
  daemonWith(flags: readonly string[]): Running
  startEdge(): Promise<void>
  startDaemon(): Promise<void>
}

interface More {
  readonly trust?: readonly string[]
  readonly env?: NodeJS.ProcessEnv
  readonly cwd?: string
  readonly alone?: boolean
}

export interface WorldOptions {
  readonly hostname: string
  readonly service: string
  /** Further flags of posternd. */
  readonly daemonFlags?: readonly string[]
}

interface Seeded {
  readonly serviceToken: { readonly id: string; readonly secret: string }
  readonly tunnelToken: string
  readonly caFile: string
}

export async function startWorld(options: WorldOptions): Promise<World> {
  const world = new Processes(options, await freePort())
  try {
    await world.begin()
    return world
  } catch (error) {
    await world[Symbol.asyncDispose]()
    throw error
  }
}

class Processes implements World {
  readonly folder = mkdtempSync(join(tmpdir(), 'postern-world-'))
  readonly port: number
  readonly #options: WorldOptions
  readonly #running = new Set<Running>()
  #edge: Running | undefined
  #daemon: Running | undefined
  #caFile = ''
  credential: readonly string[] = []

  constructor(options: WorldOptions, port: number) {
    this.#options = options
    this.port = port
  }

  get hostname(): string {
    return this.#options.hostname
  }

  get address(): string {
    return `${this.hostname}:${this.port}`
  }

  get trust(): readonly string[] {
    return ['--ca', this.#caFile]
  }

  get edge(): Running {
    if (!this.#edge) throw new Error('no edge runs')
    return this.#edge
  }

  get daemon(): Running {
    if (!this.#daemon) throw new Error('no daemon runs')
    return this.#daemon
  }

  async begin(): Promise<void> {
    const data = join(this.folder, 'edge')
    const init = start('postern-edge', [
      'init',
      '--data',
      data,
      '--hostname',
      this.hostname,
      '--tunnel',
      'home',
      '--team-domain',
      'edge.localhost',
      '--json',
    ])
    if ((await init.exit) !== 0) throw new Error(init.stderr)
    const seeded = JSON.parse(init.stdout) as Seeded
    this.#caFile = seeded.caFile
    const secrets = join(this.folder, 'secrets')
    mkdirSync(secrets, { mode: 0o700 })
    writeFileSync(join(secrets, 'service'), seeded.serviceToken.secret, { mode: 0o600 })
    writeFileSync(join(secrets, 'tunnel'), seeded.tunnelToken, { mode: 0o600 })
    this.credential = ['--id', seeded.serviceToken.id, '--secret-file', join(secrets, 'service')]
    await this.startEdge()
    await this.startDaemon()
  }

  async startEdge(): Promise<void> {
    this.#edge = this.#keep(
      start('postern-edge', ['run', '--data', join(this.folder, 'edge'), '--listen', `127.0.0.1:${this.port}`]),
    )
    await this.#edge.says(/edge listens/)
  }

  async startDaemon(): Promise<void> {
    this.#daemon = this.daemonWith([
      '--token-file',
      join(this.folder, 'secrets', 'tunnel'),
      ...(this.#options.daemonFlags ?? []),
    ])
    await this.#daemon.says(/connected to the edge/)
  }

  daemonWith(flags: readonly string[]): Running {
    return this.#keep(
      start('posternd', [
        '--hostname',
        this.hostname,
        '--url',
        this.#options.service,
        '--edge',
        `https://edge.localhost:${this.port}`,
        ...this.trust,
        ...flags,
      ]),
    )
  }

  access(protocol: string, extra: readonly string[] = [], more: More = {}): Running {
    return this.accessAs(this.credential, protocol, extra, more)
  }

  accessAs(credential: readonly string[], protocol: string, extra: readonly string[] = [], more: More = {}): Running {
    const named = more.alone || extra.some(word => word.startsWith('--hostname'))
    const own = named ? [] : ['--hostname', this.address]
    return this.#keep(
      start('postern', ['access', protocol, ...own, ...credential, ...(more.trust ?? this.trust), ...extra], {
        env: more.env ?? {},
        ...(more.cwd !== undefined && { cwd: more.cwd }),
      }),
    )
  }

  #keep(running: Running): Running {
    this.#running.add(running)
    void running.exit.then(
      () => this.#running.delete(running),
      () => this.#running.delete(running),
    )
    return running
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#running].map(running => running.stop('SIGKILL')))
    rmSync(this.folder, { recursive: true, force: true })
  }
}
