import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { keyFingerprint } from '@postern/connector'
import { writeJson } from '@postern/connector/files'
import { createConnector, createIdentity, signConnector } from '@postern/connector/issue'
import { freePort } from '@postern/dev'
import { initialiseEdge, type RunningEdge, startEdge } from '@postern/edge'
import { quiet } from './lab.ts'
import { type Running, start } from './program.ts'

/** What carries an end-to-end session: each of these has to hold. */
export const TRANSPORTS: readonly string[] = ['websocket', 'tls']

/** Where a program runs: started by another one, such as `ip netns exec NAME`, and with which variables. */
export interface Place {
  readonly through?: readonly string[]
  readonly env?: NodeJS.ProcessEnv
}

export interface JoinedApp {
  readonly service: string
  /** Default `home`. Each tunnel has a daemon of its own. */
  readonly tunnel?: string
  readonly mode?: 'hop' | 'end-to-end'
}

export interface JoinedOptions {
  /** By hostname. */
  readonly apps: Readonly<Record<string, JoinedApp>>
  /** In this process, where it can be administered and counted. Default: a process of its own. */
  readonly here?: boolean
  /** Of daemons and clients. Default: theirs. */
  readonly transport?: string
  /** The address to listen at. Default 127.0.0.1. */
  readonly address?: string
  /** Default `edge.localhost`. */
  readonly team?: string
  readonly places?: { readonly edge?: Place; readonly daemon?: Place; readonly client?: Place }
}

/** What a daemon has of its own. */
export interface JoinedTunnel {
  readonly identity: { readonly cert: string; readonly key: string }
  readonly fingerprint: string
  readonly connector: string
  readonly home: string
}

/** An edge, daemons with certificates of their own, and clients: each a process, joined end to end. */
export interface JoinedWorld extends AsyncDisposable {
  readonly folder: string
  readonly port: number
  readonly caFile: string
  readonly token: { readonly id: string; readonly secret: string }
  /** @throws when it is a process of its own */
  readonly here: RunningEdge
  /** @throws when it is in this process */
  readonly edge: Running
  readonly tunnels: ReadonlyMap<string, JoinedTunnel>
  daemon(tunnel?: string): Running
  startEdge(place?: Place): Promise<void>
  startDaemon(tunnel?: string, more?: Place): Promise<void>
  /** `--id …`, `--ca …`: everything that a client of ours is told besides the hostname. */
  flags(hostname: string): readonly string[]
  /** `postern access tcp`, which insists on end to end, and has the pin, where the rule does not say hop. */
  tcp(hostname: string, more?: readonly string[], place?: Place): Running
  /** The same, listening. @returns its port */
  forward(hostname: string, more?: readonly string[]): Promise<{ readonly access: Running; readonly port: number }>
}

export async function startJoined(options: JoinedOptions): Promise<JoinedWorld> {
  const world = new Joined(options, await freePort())
  try {
    await world.begin()
    return world
  } catch (error) {
    await world[Symbol.asyncDispose]()
    throw error
  }
}

const call = { signal: new AbortController().signal, log: quiet }

class Joined implements JoinedWorld {
  readonly folder = mkdtempSync(join(tmpdir(), 'postern-joined-'))
  readonly port: number
  readonly tunnels = new Map<string, JoinedTunnel>()
  caFile = ''
  token = { id: '', secret: '' }
  readonly #options: JoinedOptions
  readonly #running = new Set<Running>()
  readonly #daemons = new Map<string, Running>()
  #here: RunningEdge | undefined
  #edge: Running | undefined

  constructor(options: JoinedOptions, port: number) {
    this.#options = options
    this.port = port
  }

  get here(): RunningEdge {
    if (!this.#here) throw new Error('the edge is a process of its own')
    return this.#here
  }

  get edge(): Running {
    if (!this.#edge) throw new Error('no edge runs in a process of its own')
    return this.#edge
  }

  get #address(): string {
    return this.#options.address ?? '127.0.0.1'
  }

  get #team(): string {
    return this.#options.team ?? 'edge.localhost'
  }

  get #data(): string {
    return join(this.folder, 'edge')
  }

  daemon(tunnel = 'home'): Running {
    const found = this.#daemons.get(tunnel)
    if (!found) throw new Error(`no daemon of ${tunnel} runs`)
    return found
  }

  /** What is administered is administered in this process, whose edge it is then or is not. */
  async begin(): Promise<void> {
    this.caFile = (await initialiseEdge({ data: this.#data, teamDomain: this.#team }, call)).caFile
    const { here: stays, apps } = this.#options
    const at = { host: '127.0.0.1', port: stays ? this.port : 0 }
    this.#here = await startEdge({ data: this.#data, listen: at, grace: 500 }, call)
    this.token = await this.#here.administration.call('service-token.create', { body: { name: 'visitor' } })
    writeFileSync(join(this.folder, 'secret'), this.token.secret, { mode: 0o600 })
    for (const name of new Set(Object.values(apps).map(({ tunnel = 'home' }) => tunnel))) await this.#enrol(name)
    const rules = [{ name: 'machines', action: 'service' as const, include: [{ anyServiceToken: true as const }] }]
    for (const [hostname, { tunnel = 'home' }] of Object.entries(apps))
      await this.#here.administration.call('application.create', { body: { hostname, tunnel, rules } } as never)
    if (!stays) {
      await this.#here.close()
      this.#here = undefined
      await this.startEdge()
    }
    await Promise.all([...this.tunnels.keys()].map(name => this.startDaemon(name)))
  }

  /** What posternd login leaves; that it does, connector-certificates.test.ts shows. */
  async #enrol(name: string): Promise<void> {
    const { administration } = this.here
    const identity = await createIdentity(name)
    await administration.call('tunnel.create', { body: { name, identity: identity.cert } })
    const one = await createConnector()
    const certificate = await signConnector(identity, name, one)
    const body = { certificate, host: one.host }
    const { token, grantKeys } = await administration.call('connector.enrol', { params: { name }, body })
    const home = join(this.folder, `daemon-${name}`)
    await writeJson(join(home, 'connector.json'), {
      ...{ version: 1, edge: `https://${this.#team}:${this.port}`, ca: readFileSync(this.caFile, 'utf8') },
      ...{ tunnel: name, connector: one.id, token, certificate, key: one.key, identity: identity.cert },
      ...(grantKeys && { grantKeys }),
    })
    this.tunnels.set(name, { identity, fingerprint: keyFingerprint(identity.key), connector: one.id, home })
  }

  async startEdge(place: Place | undefined = this.#options.places?.edge): Promise<void> {
    const at = `${this.#address.includes(':') ? `[${this.#address}]` : this.#address}:${this.port}`
    const args = ['run', '--data', this.#data, '--listen', at, '--grace-period', '1s']
    this.#edge = this.#keep(start('postern-edge', args, place))
    await this.#edge.says(/edge listens/)
  }

  async startDaemon(name = 'home', place: Place | undefined = this.#options.places?.daemon): Promise<void> {
    const { home = '' } = this.tunnels.get(name) ?? {}
    const ingress = Object.entries(this.#options.apps)
      .filter(([, { tunnel = 'home' }]) => tunnel === name)
      .map(([hostname, { service, mode }]) => ({ hostname, service, ...(mode && { mode }) }))
    const config = join(home, 'posternd.yaml')
    const at = { edge: `https://${this.#team}:${this.port}`, ca: this.caFile, ingress }
    writeFileSync(config, JSON.stringify(at), { mode: 0o600 })
    const args = ['run', '--config', config, '--log-level', 'debug', '--grace-period', '1s', ...this.#transport]
    const env = { ...place?.env, POSTERN_HOME: home }
    const daemon = this.#keep(start('posternd', args, { ...place, env }))
    this.#daemons.set(name, daemon)
    await daemon.says(/connected to the edge/)
  }

  get #transport(): readonly string[] {
    return this.#options.transport === undefined ? [] : ['--transport', this.#options.transport]
  }

  flags(hostname: string): readonly string[] {
    const { mode, tunnel = 'home' } = this.#options.apps[hostname] ?? {}
    const pin = ['--end-to-end', '--pin', this.tunnels.get(tunnel)?.fingerprint ?? '']
    const own = ['--id', this.token.id, '--secret-file', join(this.folder, 'secret'), '--ca', this.caFile]
    return [...own, ...this.#transport, ...(mode === 'hop' ? [] : pin)]
  }

  tcp(
    hostname: string,
    more: readonly string[] = [],
    place: Place | undefined = this.#options.places?.client,
  ): Running {
    const home = join(this.folder, 'client')
    mkdirSync(home, { recursive: true, mode: 0o700 })
    const args = ['access', 'tcp', '--hostname', `${hostname}:${this.port}`, ...this.flags(hostname), ...more]
    return this.#keep(start('postern', args, { ...place, env: { ...place?.env, POSTERN_HOME: home } }))
  }

  async forward(hostname: string, more: readonly string[] = []) {
    const access = this.tcp(hostname, ['--url', '127.0.0.1:0', '--json', ...more])
    const [, port] = await access.says(/"address":"127\.0\.0\.1:(\d+)"/)
    return { access, port: Number(port) }
  }

  #keep(program: Running): Running {
    this.#running.add(program)
    void program.exit.finally(() => this.#running.delete(program)).catch(() => {})
    return program
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // A stopped one dies of this too.
    await Promise.all([...this.#running].map(program => program.stop('SIGKILL')))
    await this.#here?.close()
    rmSync(this.folder, { recursive: true, force: true })
  }
}
