import type { NamedTransport } from '@postern/client'
import {
  builtins,
  joinIdentity,
  originHost,
  type RunningDaemon,
  readRule,
  type ServedRule,
  startDaemon,
  type TeamAddress,
  type WebRule,
} from '@postern/daemon'
import { type Call, type ClientHost, PosternError, type ProtocolServer } from '@postern/interface'
import { createRegistry, type Registry } from '@postern/registry'
import type { Enrolled } from './enrolled.ts'

/** A hostname and what is behind it. One hostname may have a service for bytes and one for requests. */
export type SampleRule = readonly [hostname: string, service: string]

/** The daemon, composed of the same plugins by the same registry as `posternd`. */
export class SampleDaemon implements AsyncDisposable {
  readonly #to: TeamAddress
  readonly #call: Call
  readonly #registry: Registry = createRegistry(builtins)
  readonly #servers = new Map<string, ProtocolServer>()
  readonly #bytes: ServedRule[] = []
  readonly #pages: WebRule[] = []
  readonly #owned = new AsyncDisposableStack()
  #daemon: RunningDaemon | undefined

  /** @param call ends it when it is aborted */
  constructor(to: TeamAddress, call: Call) {
    this.#to = to
    this.#call = call
  }

  /** Connects to the edge. @throws PosternError what the edge says; OPTION_INVALID for a service that is none */
  async start(who: Enrolled, services: readonly SampleRule[]): Promise<void> {
    for (const [hostname, service] of services) (await this.#read(hostname, service)).add()
    const { token, credentials } = who
    const own = { connectorCertificate: credentials?.certificate, connectorKey: credentials?.key }
    const [registry, call, host] = [this.#registry, this.#call, nobody(this.#call)]
    const auth = [await registry.create('auth', 'tunnel-token', 'client', { token, ...own }, host, call)]
    const transports: NamedTransport[] = []
    // Over tls, end-to-end sessions are connections of their own.
    for (const name of credentials ? ['tls', 'websocket'] : ['websocket'])
      transports.push({ name, transport: await registry.create('transport', name, 'client', {}, host, call) })
    const joining = joinIdentity(credentials, this.#call)
    const config = { ...this.#to, ...this.#rules(), auth, transports, connections: 2, ...(joining && { joining }) }
    this.#daemon = this.#owned.use(await startDaemon(config, this.#call))
  }

  /** @returns the protocol that it is reached by, and what puts it behind the hostname, from then on. @throws PosternError OPTION_INVALID */
  async offer(hostname: string, service: string): Promise<{ readonly protocol: string; serve(): void }> {
    const { protocol, add } = await this.#read(hostname, service)
    const serve = () => {
      add()
      const { rules, web } = this.#rules()
      this.#daemon?.setRules(rules, [], web)
    }
    return { protocol, serve }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync()
  }

  async #read(hostname: string, service: string) {
    const entryOf = (scheme: string) => this.#registry.forScheme(scheme)?.entry
    const rule = readRule(hostname, service, scheme => entryOf(scheme)?.defaultPort ?? (entryOf(scheme) && 'none'))
    const scheme = rule.service.protocol
    const { name: protocol } = entryOf(scheme) ?? { name: '' }
    const server = await this.#serverOf(protocol)
    const isWeb = scheme === 'http:' || scheme === 'https:'
    const add = () =>
      void (isWeb ? this.#pages.push({ ...rule, segments: [], options: {} }) : this.#bytes.push({ ...rule, server }))
    return { protocol, add }
  }

  #rules() {
    const [{ service } = { service: undefined }] = this.#pages
    const server = service && this.#servers.get(this.#registry.forScheme('http:')?.entry.name ?? '')
    return { rules: [...this.#bytes], ...(server && { web: { server, rules: [...this.#pages] } }) }
  }

  async #serverOf(name: string): Promise<ProtocolServer> {
    const known = this.#servers.get(name)
    if (known) return known
    const server = await this.#registry.create('protocol', name, 'origin', {}, originHost(this.#to), this.#call)
    this.#owned.defer(() => server[Symbol.asyncDispose]?.())
    this.#servers.set(name, server)
    return server
  }
}

/** A daemon keeps nothing and asks nobody. */
function nobody({ log }: Call): ClientHost {
  return {
    secrets: {
      get: async () => undefined,
      set: async () => {},
      delete: async () => {},
      exclusively: (_key, work) => work(),
    },
    ui: {
      show: line => log.info(line),
      open: async () => false,
      ask: () => Promise.reject(new PosternError('LOGIN_REQUIRED', 'nobody is there to ask')),
    },
    fetch: (input, init) => fetch(input, init),
  }
}
