import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { RunningEdge } from '@postern/edge'
import { BARRED, CAUSES, type Credential, FATES, type Fate, NOBODY, VICTIM } from './causes.ts'
import { type Kind, type Open, openEvents, openHttp, openSsh, openTcp, openWebSocket } from './open-things.ts'
import { echoThenTail, startOrigin } from './origin.ts'
import { type Site, type SiteApplication, startSite, startWebOrigin, TEAM } from './site.ts'
import { type SshOrigin, startSshOrigin, writeSshConfig } from './ssh.ts'
import { Visitor } from './visitor.ts'

const PASSWORD = 'correct horse battery staple'
const BYSTANDER = 'bystander@example.com'
/** Milliseconds: a session where it is shortest, and what of it is left once a thing begins to be opened. */
const SHORTEST_SESSION = 60_000
const LEFT = { cookie: 2500, token: 8000, service: 0 }
/** Milliseconds until something is taken for not cut at all. */
const LONGEST = 30_000
const SESSIONS = 'browser-sso'

/** Whose access is taken away, and what shows who they are. */
export interface Victim {
  readonly visitor: Visitor
  readonly home: string
  readonly hostnames: ReadonlySet<string>
  readonly service: { readonly id: string; readonly secret: string }
  /** The key that signed what they show. */
  readonly key: string
  /** What they have open hangs on these. */
  readonly sessions: readonly string[]
  /** Where that is soon: as `performance.now()` says it. */
  readonly ends: number
}

export interface Cut {
  readonly kind: Kind
  readonly cause: string
  readonly isBusy: boolean
  /** Milliseconds to the visitor’s end: from the answer of whoever took access away, and from the asking. */
  readonly ms: number
  readonly msFromAsking: number
  readonly how: string
  /** Why, as the audit has it; of HTTP the row of what was done. */
  readonly why: string
}

interface Shown {
  readonly visitor: Visitor
  readonly home: string
  readonly credential: Credential
  readonly service: Victim['service']
}

type Call = RunningEdge['administration']['call']

/** A team whose people come and are put out, and others who must not notice. */
export class Revocations implements AsyncDisposable {
  readonly site: Site
  readonly call: Call
  readonly #ssh: SshOrigin | undefined
  readonly #owned: AsyncDisposableStack
  readonly #bystanders = new Map<string, Open>()
  readonly #applications: Readonly<Record<string, SiteApplication>>
  #count = 0

  private constructor(
    site: Site,
    ssh: SshOrigin | undefined,
    applications: Record<string, SiteApplication>,
    owned: AsyncDisposableStack,
  ) {
    this.site = site
    this.call = site.edge.administration.call.bind(site.edge.administration) as Call
    this.#ssh = ssh
    this.#applications = applications
    this.#owned = owned
  }

  /** @param folder for sshd’s keys; without it there is no sshd */
  static async start(folder: string | undefined): Promise<Revocations> {
    await using owned = new AsyncDisposableStack()
    const web = owned.use(await startWebOrigin(serveWeb))
    const echo = owned.use(await startOrigin(echoThenTail))
    const ssh = folder === undefined ? undefined : owned.use(await startSshOrigin(folder))
    const applications: Record<string, SiteApplication> = {}
    for (const fate of FATES) {
      const options = fate === 'brief' ? { options: { sessionSeconds: SHORTEST_SESSION / 1000 } } : {}
      const both = { service: web.service, others: [`tcp://127.0.0.1:${echo.port}`], protocols: ['http', 'tcp'] }
      applications[hostnameOf('http', fate)] = { ...both, rules: RULES, ...options }
      if (ssh === undefined) continue
      const shell = { service: `ssh://127.0.0.1:${ssh.port}`, protocols: ['ssh'] }
      applications[hostnameOf('ssh', fate)] = { ...shell, rules: RULES, ...options }
    }
    const groups = [{ name: BARRED, selectors: NOBODY }]
    const site = owned.use(await startSite(applications, {}, groups))
    for (const email of [VICTIM, BYSTANDER]) await site.person(email, PASSWORD, ['staff'])
    return new Revocations(site, ssh, applications, owned.move())
  }

  /** Others’ things of the same kinds, that are looked at by {@link untouched}. */
  async openBystanders(kinds: readonly Kind[]): Promise<void> {
    const visitor = new Visitor()
    const home = this.#home()
    await visitor.signIn(this.site.at(hostnameOf('http', 'lasting')), BYSTANDER, PASSWORD)
    await this.#signIn(home, visitor, BYSTANDER)
    const service = await this.#serviceToken()
    for (const kind of kinds) {
      for (const isBusy of [true, false]) {
        const credential = isByProgram(kind) ? 'token' : 'cookie'
        await this.#stand(`${kind}, ${isBusy}`, kind, isBusy, { visitor, home, credential, service })
      }
    }
    await this.#stand('service', 'websocket', true, { visitor, home, credential: 'service', service })
  }

  /** @throws when anything of the bystanders was cut, or hangs */
  async untouched(): Promise<void> {
    const blame = (name: string) => (error: unknown) => Promise.reject(new Error(`a bystander’s ${name}: ${error}`))
    await Promise.all([...this.#bystanders].map(([name, open]) => open.works().catch(blame(name))))
  }

  /** Somebody comes, opens these, and is put out in one way. */
  async putOut(cause: string, wanted: readonly { readonly kind: Kind; readonly isBusy: boolean }[]): Promise<Cut[]> {
    const { credential, fate = 'lasting', action, take, restore } = mustBe(CAUSES[cause])
    await using opened = new AsyncDisposableStack()
    const credentials = wanted.map(({ kind }) => mustBe(credential(kind)))
    const victim = await this.#comes(cause, wanted, credentials, fate)
    const since = new Date().toISOString()
    const open: Open[] = []
    for (const [n, { kind, isBusy }] of wanted.entries()) {
      const shown = { ...victim, credential: mustBe(credentials[n]) }
      open.push(opened.use(await this.#open(kind, isBusy, fate, shown)))
    }
    if (victim.ends === Number.POSITIVE_INFINITY) await Promise.all(open.map(one => one.works()))
    const begun = performance.now()
    const told = await take(victim, this)
    const answered = typeof told === 'number' ? told : performance.now()
    for (const one of open) one.ask()
    const cuts: Cut[] = []
    for (const [n, { kind, isBusy }] of wanted.entries()) {
      const over = await Promise.race([mustBe(open[n]).over, sleep(LONGEST, undefined, { ref: false })])
      if (over === undefined) throw new Error(`${kind} is open ${LONGEST} ms after: ${cause}`)
      const from = typeof told === 'number' ? told : begun
      if (over.at < from - 20) throw new Error(`${kind} was over before: ${cause}; ${over.how}`)
      const why = await this.#why(kind, hostnameOf(kind, fate), since, action)
      const ms = Math.max(0, over.at - answered)
      cuts.push({ kind, cause, isBusy, ms, msFromAsking: Math.max(0, over.at - from), how: over.how, why })
    }
    await restore?.(victim, this)
    return cuts
  }

  /** An application as it was at the beginning. */
  async create(hostname: string): Promise<void> {
    const { protocols, rules, options } = mustBe(this.#applications[hostname])
    const body = { hostname, tunnel: 'home', protocols, rules, ...(options && { options }) }
    await this.call('application.create', { body } as never)
  }

  /** `postern` to its end. @throws when it fails */
  async runs(home: string, args: readonly string[]): Promise<string> {
    const program = this.site.postern(args, { POSTERN_HOME: home })
    program.child.stdin?.end()
    if ((await program.exit) !== 0) throw new Error(`postern ${args.join(' ')}: ${program.stderr}`)
    return program.stdout
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#bystanders.values()].map(one => one[Symbol.asyncDispose]()))
    await this.#owned.disposeAsync()
  }

  async #comes(
    cause: string,
    wanted: readonly { readonly kind: Kind }[],
    credentials: readonly Credential[],
    fate: Fate,
  ): Promise<Victim & Omit<Shown, 'credential'>> {
    const visitor = new Visitor()
    const home = this.#home()
    // Its own key: what others show was signed with the ones before.
    if (cause === 'signing key removed') await this.call('key.rotate', { body: {} })
    const isService = credentials.includes('service')
    const service = isService ? await this.#serviceToken() : { id: '', secret: '' }
    const before = await this.#sessions()
    if (credentials.includes('cookie')) await visitor.signIn(this.site.at(hostnameOf('http', fate)), VICTIM, PASSWORD)
    if (credentials.includes('token')) await this.#signIn(home, visitor, VICTIM)
    const vias = credentials.map(one => (one === 'cookie' ? 'browser' : 'cli'))
    const sessions = (await this.#sessions()).filter(
      one => vias.includes(one.via as never) && !before.some(({ id }) => id === one.id),
    )
    const keys = await this.call('key.list', {})
    const key = keys.find(({ state }) => state === 'current')?.id ?? ''
    const hostnames = new Set(wanted.map(({ kind }) => hostnameOf(kind, fate)))
    const left = Math.max(...credentials.map(one => LEFT[one]))
    const ends =
      fate === 'brief'
        ? await this.#shorten(
            sessions.map(({ id }) => id),
            left,
          )
        : Number.POSITIVE_INFINITY
    return { visitor, home, hostnames, service, key, sessions: sessions.map(({ id }) => id), ends }
  }

  async #sessions() {
    return this.call('session.list', { query: { user: VICTIM } })
  }

  /** As if they had signed in most of a minute ago. */
  async #shorten(ids: readonly string[], left: number): Promise<number> {
    const { store } = this.site.edge
    const now = Date.now()
    // A token says it in whole seconds.
    const ends = Math.ceil((now + left) / 1000) * 1000
    const changes = ids.map(one => {
      const id = `session.${one}`
      const value = store.snapshot.records.get(SESSIONS)?.get(id) as object
      return { put: 'record', namespace: SESSIONS, id, value: { ...value, authenticatedAt: ends - SHORTEST_SESSION } }
    })
    await store.keep(changes as never)
    return performance.now() + ends - Date.now()
  }

  async #stand(name: string, kind: Kind, isBusy: boolean, shown: Shown): Promise<void> {
    this.#bystanders.set(name, await this.#open(kind, isBusy, 'lasting', shown))
  }

  async #open(kind: Kind, isBusy: boolean, fate: Fate, shown: Shown): Promise<Open> {
    const hostname = hostnameOf(kind, fate)
    const address = `${hostname}:${this.site.edge.port}`
    if (isByProgram(kind)) {
      const credential = shown.credential === 'service' ? this.#flagsOf(shown) : []
      const { home } = shown
      if (kind === 'tcp') {
        const args = ['access', 'tcp', '--hostname', address, '--url', 'localhost:0', '--json', ...credential]
        return openTcp(this.site.postern(args, { POSTERN_HOME: home }), isBusy)
      }
      const world = { folder: home, hostname, address, credential, trust: ['--ca', this.site.caFile] }
      return openSsh(writeSshConfig(world, mustBe(this.#ssh)), hostname, { POSTERN_HOME: home }, isBusy)
    }
    const visit = { origin: this.site.at(hostname), headers: await this.#headersOf(hostname, shown), isBusy }
    if (kind === 'http') return openHttp(visit)
    return kind === 'websocket' ? openWebSocket(visit) : openEvents(visit)
  }

  async #headersOf(hostname: string, { visitor, home, credential, service }: Shown): Promise<Record<string, string>> {
    if (credential === 'cookie') return { cookie: visitor.cookieOf(hostname) }
    if (credential === 'service') return { 'postern-client-id': service.id, 'postern-client-secret': service.secret }
    const token = await this.runs(home, ['access', 'token', '--app', this.site.at(hostname)])
    return { 'postern-access-token': token.trim() }
  }

  #flagsOf({ home, service }: Shown): readonly string[] {
    const file = join(home, 'secret')
    writeFileSync(file, service.secret, { mode: 0o600 })
    return ['--id', service.id, '--secret-file', file]
  }

  async #signIn(home: string, visitor: Visitor, email: string): Promise<void> {
    const at = this.site.at(hostnameOf('http', 'lasting'))
    const args = ['access', 'login', at, '--no-browser', '--trust-team', TEAM]
    // Where there is a screen there is a person to ask.
    const program = this.site.postern(args, { POSTERN_HOME: home, DISPLAY: ':99' })
    program.child.stdin?.end()
    const [url] = await program.says(/https:\/\/edge\.localhost:\d+\/oauth\/\S+/)
    await visitor.submit(await visitor.signIn(url, email, PASSWORD), { answer: 'yes' })
    if ((await program.exit) !== 0) throw new Error(`not signed in: ${program.stderr}`)
  }

  async #serviceToken(): Promise<Victim['service']> {
    return this.call('service-token.create', { body: { name: `robot ${this.#count++}`.replace(' ', '-') } })
  }

  #home(): string {
    const home = join(this.site.folder, `home-${this.#count++}`)
    mkdirSync(home, { mode: 0o700 })
    return home
  }

  /** @throws when the audit does not say it */
  async #why(kind: Kind, hostname: string, since: string, action: string | undefined): Promise<string> {
    const until = performance.now() + 5000
    for (;;) {
      const { rows } = await this.call('audit.list', { query: { since, most: '200' } })
      const done = action === undefined || rows.some(row => row.action === action)
      const ended = rows.find(
        row => row.code === 'ACCESS_ENDED' && row.hostname === hostname && row.action !== 'stream.refused',
      )
      const why = (ended?.detail as { why?: unknown } | undefined)?.why
      if (done && typeof why === 'string') return why
      if (done && kind === 'http') return action ?? 'expired'
      if (performance.now() > until)
        throw new Error(
          `the audit does not say why: ${JSON.stringify(rows.slice(0, 6).map(row => [row.action, row.code, row.detail]))}`,
        )
      await sleep(50)
    }
  }
}

const RULES = [
  {
    name: 'staff',
    action: 'allow' as const,
    include: [{ group: 'staff' }],
    exclude: [{ inGroup: BARRED }],
  },
  { name: 'robots', action: 'service' as const, include: [{ anyServiceToken: true }] },
]

function isByProgram(kind: Kind): boolean {
  return kind === 'tcp' || kind === 'ssh'
}

function hostnameOf(kind: Kind, fate: Fate): string {
  return kind === 'ssh' ? `${fate}-ssh.localhost` : `${fate}.localhost`
}

/** A page, and events that go on. */
const serveWeb: Parameters<typeof startWebOrigin>[0] = (request, response) => {
  const [, every] = /^\/events\?every=(\d+)$/.exec(request.url ?? '') ?? []
  if (every === undefined) {
    response.end('page')
    return
  }
  response.setHeader('content-type', 'text/event-stream')
  response.write('data: first\n\n')
  const timer = setInterval(() => response.write('data: next\n\n'), Number(every))
  response.on('close', () => clearInterval(timer))
}

function mustBe<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('it is not there')
  return value
}
