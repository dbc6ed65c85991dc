import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { keyFingerprint } from '@postern/connector'
import { writeJson } from '@postern/connector/files'
import { createConnector, createIdentity, signConnector } from '@postern/connector/issue'
import { type EdgeConfig, initialiseEdge, type RunningEdge, startEdge } from '@postern/edge'
import { type Auth, type Combination, type MODES, possible, TRANSPORTS } from './combinations.ts'
import { quiet } from './lab.ts'
import { OpensslCa } from './openssl-ca.ts'
import { echoThenTail, type Origin, startOrigin } from './origin.ts'
import { type Running, start } from './program.ts'
import { acceptInvitation, startWebOrigin, TEAM, type WebOrigin } from './site.ts'
import { type SshOrigin, startSshOrigin } from './ssh.ts'
import { Visitor } from './visitor.ts'

const ANN = 'ann@example.com'
const PASSWORD = 'correct horse battery staple'
/** An application whose rules are about nobody of this team. */
const CLOSED = 'closed.localhost'
const THIRD_PARTY = 'my-plugin'
const KEY = 'a key of sixteen or more characters'.replaceAll(' ', '-')

/** Where the services of all combinations are. */
interface Services extends AsyncDisposable {
  readonly ssh: SshOrigin
  readonly bytes: Origin
  readonly web: WebOrigin
}

/** One forward of a file. */
export interface Forward {
  readonly hostname: string
  readonly listen: number
  readonly protocol: string
  readonly endToEnd?: boolean
  readonly pin?: string
}

/** An edge in this process, and for each transport a tunnel whose daemon, a process, is told to use that one. */
export class CombinationSite implements AsyncDisposable {
  readonly services: Services
  readonly folder: string
  readonly #edge: RunningEdge
  readonly #caFile: string
  readonly #pins = new Map<string, string>()
  readonly #keys = new Map<Auth, Readonly<Record<string, string>>>()
  #owned: AsyncDisposableStack

  private constructor(
    folder: string,
    edge: RunningEdge,
    caFile: string,
    services: Services,
    owned: AsyncDisposableStack,
  ) {
    this.folder = folder
    this.#edge = edge
    this.#caFile = caFile
    this.services = services
    this.#owned = owned
  }

  static async start(): Promise<CombinationSite> {
    await using owned = new AsyncDisposableStack()
    const folder = mkdtempSync(join(tmpdir(), 'postern-combinations-'))
    owned.defer(() => rmSync(folder, { recursive: true, force: true }))
    const services = owned.use(await startServices(folder))
    const data = join(folder, 'edge')
    const call = { signal: new AbortController().signal, log: quiet }
    const { caFile } = await initialiseEdge({ data, teamDomain: TEAM }, call)
    const added = addThirdParty(folder)
    const config = { data, listen: { port: 0 }, grace: 500, passwordCost: 8, ...added }
    const edge = owned.use(await startEdge(config, call))
    const site = new CombinationSite(folder, edge, caFile, services, owned)
    const rules = await site.#letIn()
    for (const name of TRANSPORTS) await site.#tunnel(name, rules)
    await site.#application(CLOSED, 'tcp', 'auto', [
      { name: 'others', action: 'allow', include: [{ certificate: { ca: 'staff', email: 'bob@example.com' } }] },
    ])
    await Promise.all([site.#signIn(), ...TRANSPORTS.map(name => site.#daemon(name))])
    site.#owned = owned.move()
    return site
  }

  /** `ssh-hop-grpc.localhost:12345`: what is told apart is which application is asked for, and how its daemon came. */
  at({ protocol, mode, daemon }: Pick<Combination, 'protocol' | 'mode' | 'daemon'>): string {
    return this.#withPort(hostnameOf(protocol, mode, daemon))
  }

  get closed(): string {
    return this.#withPort(CLOSED)
  }

  /** A forward of `up`; end to end it insists on that, with the pin. */
  forward(one: Pick<Combination, 'protocol' | 'mode' | 'daemon'>): Forward {
    const insists = { endToEnd: true, pin: this.#pins.get(one.daemon) ?? '' }
    return {
      ...{ hostname: this.at(one), listen: 0, protocol: one.protocol },
      ...(one.mode === 'end-to-end' && insists),
    }
  }

  /** `postern access up` with a file in which everything is for one auth and one transport. */
  up(auth: Auth, transport: string, forwards: readonly Forward[]): Running {
    const file = join(this.folder, `${auth}-${transport}.yaml`)
    const plugins = auth === THIRD_PARTY ? { plugins: [`./${THIRD_PARTY}`] } : {}
    const all = { ca: this.#caFile, transport, auth, ...plugins, ...this.#keys.get(auth), forwards }
    writeFileSync(file, JSON.stringify(all), { mode: 0o600 })
    return this.postern(['access', 'up', '-f', file, '--json'])
  }

  /** The words of the command line that say the same. */
  flags(auth: Auth): readonly string[] {
    const keys = Object.entries(this.#keys.get(auth) ?? {})
    const own = keys.flatMap(([key, value]) => [`--${key.replace('File', '-file')}`, value])
    return ['--auth', auth, ...own, ...(auth === THIRD_PARTY ? ['--plugin', join(this.folder, THIRD_PARTY)] : [])]
  }

  /** The program, of somebody who has signed in. */
  postern(args: readonly string[]): Running {
    const env = { POSTERN_HOME: join(this.folder, 'home'), POSTERN_CA: this.#caFile, DISPLAY: ':99' }
    const running = start('postern', args, { env })
    this.#owned.defer(async () => void (await running.stop('SIGKILL')))
    return running
  }

  /** `posternd` with one rule more than it can have. */
  refusedRule(rule: object): Running {
    const file = this.#config('auto', 'refused', [
      { hostname: 'web.localhost', service: this.services.web.service, ...rule },
    ])
    return this.#posternd('auto', file)
  }

  #withPort(hostname: string): string {
    return `${hostname}:${this.#edge.port}`
  }

  /** Who is let in by each auth, and what they show. @returns the rules that say so */
  async #letIn(): Promise<object[]> {
    const { administration } = this.#edge
    const staff = OpensslCa.root(join(this.folder, 'ca'), '/CN=Staff')
    await administration.call('ca.import', { body: { name: 'staff', certificates: staff.cert } } as never)
    const { certFile, keyFile } = staff.issue({ subject: '/CN=Ann' })
    this.#keys.set('mtls', { cert: certFile, key: keyFile })
    const { id, secret } = await administration.call('service-token.create', { body: { name: 'machine' } })
    this.#keys.set('service-token', { id, secretFile: this.#secret('machine', secret) })
    this.#keys.set(THIRD_PARTY, { keyFile: this.#secret('key', KEY) })
    const { link } = await administration.call('user.invite', { body: { email: ANN, groups: [] } })
    await acceptInvitation(link, PASSWORD)
    const others = { identity: { issuer: THIRD_PARTY, subject: 'ann' } }
    return [
      { name: 'people', action: 'allow', include: [{ email: ANN }, { certificate: { ca: 'staff' } }] },
      { name: 'machines', action: 'service', include: [{ serviceToken: id }, others] },
    ]
  }

  #secret(name: string, text: string): string {
    const file = join(this.folder, name)
    writeFileSync(file, text, { mode: 0o600 })
    return file
  }

  /** In a browser, as `postern access login` wants it; the token that it keeps is for the whole team. */
  async #signIn(): Promise<void> {
    mkdirSync(join(this.folder, 'home'), { mode: 0o700 })
    const at = `https://${this.at({ protocol: 'http', mode: 'hop', daemon: 'auto' })}`
    const login = this.postern(['access', 'login', at, '--no-browser', '--trust-team', TEAM])
    login.child.stdin?.end()
    const [url] = await login.says(/https:\/\/edge\.localhost:\d+\/oauth\/\S+/)
    const visitor = new Visitor()
    await visitor.submit(await visitor.signIn(url, ANN, PASSWORD), { answer: 'yes' })
    if ((await login.exit) !== 0) throw new Error(`not signed in: ${login.stderr}`)
  }

  /** Its key, its daemon’s credentials as `posternd login` leaves them, and an application for each protocol and mode. */
  async #tunnel(name: string, rules: object[]): Promise<void> {
    const { administration, port } = this.#edge
    const identity = await createIdentity(name)
    await administration.call('tunnel.create', { body: { name, identity: identity.cert } })
    const one = await createConnector()
    const certificate = await signConnector(identity, name, one)
    const body = { certificate, host: one.host }
    const { token, grantKeys } = await administration.call('connector.enrol', { params: { name }, body })
    await writeJson(join(this.#home(name), 'connector.json'), {
      ...{ version: 1, edge: `https://${TEAM}:${port}`, ca: readFileSync(this.#caFile, 'utf8'), tunnel: name },
      ...{ connector: one.id, token, certificate, key: one.key, identity: identity.cert },
      ...(grantKeys && { grantKeys }),
    })
    this.#pins.set(name, keyFingerprint(identity.key))
    for (const { hostname, protocol } of served(name)) await this.#application(hostname, protocol, name, rules)
  }

  async #application(hostname: string, protocol: string, tunnel: string, rules: object[]): Promise<void> {
    const body = { hostname, tunnel, protocols: [protocol], rules }
    await this.#edge.administration.call('application.create', { body } as never)
  }

  async #daemon(name: string): Promise<void> {
    const { ssh, bytes, web } = this.services
    const ports: Readonly<Record<string, string>> = { ssh: `ssh://127.0.0.1:${ssh.port}`, http: web.service }
    const ingress = served(name).map(({ hostname, protocol, mode }) => {
      const service = ports[protocol] ?? `${protocol}://127.0.0.1:${bytes.port}`
      return { hostname, service, ...(protocol !== 'http' && { mode }) }
    })
    const daemon = this.#posternd(name, this.#config(name, 'posternd', ingress))
    await daemon.says(
      name === 'auto' ? /connected to the edge/ : new RegExp(`connected to the edge.*transport=${name}`),
    )
  }

  #config(name: string, file: string, ingress: readonly object[]): string {
    const path = join(this.#home(name), `${file}.yaml`)
    const edge = `https://${TEAM}:${this.#edge.port}`
    writeFileSync(path, JSON.stringify({ edge, ca: this.#caFile, transport: name, ingress }), { mode: 0o600 })
    return path
  }

  #posternd(name: string, config: string): Running {
    const daemon = start('posternd', ['run', '--config', config], { env: { POSTERN_HOME: this.#home(name) } })
    this.#owned.defer(async () => void (await daemon.stop('SIGKILL')))
    return daemon
  }

  #home(name: string): string {
    return join(this.folder, `daemon-${name}`)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#owned.disposeAsync()
  }
}

function hostnameOf(protocol: string, mode: (typeof MODES)[number], daemon: string): string {
  return `${protocol}-${mode}-${daemon}.localhost`
}

/** The applications behind one daemon. */
function served(daemon: string): readonly { hostname: string; protocol: string; mode: (typeof MODES)[number] }[] {
  const all = possible().filter(one => one.daemon === daemon)
  const found = new Map(all.map(one => [hostnameOf(one.protocol, one.mode, daemon), one]))
  return [...found].map(([hostname, { protocol, mode }]) => ({ hostname, protocol, mode }))
}

/** A package by somebody else, at the edge too. */
function addThirdParty(folder: string): Pick<EdgeConfig, 'addPlugins' | 'pluginOptions'> {
  const own = join(folder, THIRD_PARTY)
  const program = join(import.meta.dirname, '../../packages/create-postern-plugin/bin/create-postern-plugin.js')
  execFileSync(process.execPath, [program, THIRD_PARTY, '--kind', 'auth'], {
    cwd: folder,
    stdio: 'pipe',
    timeout: 30_000,
  })
  symlinkSync(join(import.meta.dirname, '../node_modules'), join(own, 'node_modules'))
  const path = join(folder, 'edge.yaml')
  const keys = `ann:${createHash('sha256').update(KEY).digest('hex')}`
  writeFileSync(path, '', { mode: 0o600 })
  const addPlugins = { packages: [`./${THIRD_PARTY}`], from: folder }
  return { addPlugins, pluginOptions: new Map([[THIRD_PARTY, { path, values: { keys } }]]) }
}

async function startServices(folder: string): Promise<Services> {
  await using owned = new AsyncDisposableStack()
  const ssh = owned.use(await startSshOrigin(folder))
  const bytes = owned.use(await startOrigin(echoThenTail))
  const web = owned.use(await startWebOrigin((request, response) => response.end(`page ${request.url}`)))
  const parts = owned.move()
  return { ssh, bytes, web, [Symbol.asyncDispose]: () => parts.disposeAsync() }
}
