import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isLoopbackName, readHostname } from '@postern/client'
import { originHost, type TeamAddress } from '@postern/daemon'
import { initialiseEdge, type RunningEdge, startEdge } from '@postern/edge'
import { type Call, PosternError } from '@postern/interface'
import type { VerifierOptions } from '@postern/verify'
import { enrol } from './enrolled.ts'
import { type DevToken, writeClientConfig, writeCommand } from './files.ts'
import { TEAM_DOMAIN } from './names.ts'
import { addPerson, type SamplePerson, type WantedPerson } from './person.ts'
import { SampleDaemon, type SampleRule } from './sample-daemon.ts'
import { type DevFetch, signIn, strangersFetch, type Visitor } from './visitor.ts'

/** The daemon's. */
export const TUNNEL = 'sample'
/** The group of the sample person, whom everything that is exposed lets in. */
const STAFF = 'staff'
/** Milliseconds that open connections have when it stops: Ctrl-C should feel like one. */
const GRACE = 1_000
/** log2 of scrypt's N: the passwords are random, and gone with the folder. */
const PASSWORD_COST = 12

export interface DevOptions {
  /** The edge's port on loopback. Default: any free one. */
  readonly port?: number
  /** Whether the daemon is as after `posternd login`, so that sessions may be end to end. Default false: all go through the edge. */
  readonly endToEnd?: boolean
  /** Whether the sample services run: SSH, an echo service, three web pages. Default true. */
  readonly samples?: boolean
}

export interface ExposeOptions {
  /** Who of the edge's people may open it, besides the sample token. Default: `['staff']`, the sample person's group. */
  readonly groups?: readonly string[]
}

/** Where something is reached. */
export interface Exposed {
  readonly hostname: string
  /** `shop.localhost:12345`: for `createClient().open` and `postern access`. */
  readonly address: string
  /** `https://shop.localhost:12345/` */
  readonly url: string
}

/** An edge, a daemon, a person and a machine's token, in this process and on loopback only. */
export interface DevSite extends AsyncDisposable {
  /** Everything it wrote; removed with it. */
  readonly folder: string
  readonly port: number
  readonly edge: RunningEdge
  /** The CA of the edge's certificate: its file, and the PEM. */
  readonly caFile: string
  readonly ca: string
  readonly serviceToken: DevToken
  /** May open what is exposed, and administer. */
  readonly person: SamplePerson
  /** With `endToEnd`: the key of the daemon's tunnel, `sha256:…`, which clients may pin. */
  readonly pin?: string
  /** A command that runs `postern` under this Node, for this edge: it needs no CA or port to be said, and keeps what it keeps in `folder`. */
  readonly postern: string
  /**
   * Puts a service of yours behind the edge, at a name of its own below `.localhost`.
   *
   * @param service where it listens: `http://127.0.0.1:3000`, `tcp://127.0.0.1:5432`, `unix:/run/app.sock`, `ssh://127.0.0.1:22`
   * @throws PosternError HOSTNAME_INVALID, OPTION_INVALID; ALREADY_EXISTS
   * @example
   * const shop = await dev.expose('shop.localhost', `http://127.0.0.1:${port}`)
   * await (await dev.signIn()).fetch(shop.url)
   */
  expose(hostname: string, service: string, options?: ExposeOptions): Promise<Exposed>
  /**
   * What `createVerifier` of `@postern/verify` needs in the application at that hostname. Also before it is exposed.
   *
   * @example
   * const verifier = createVerifier(dev.verifierOptions('shop.localhost'))
   */
  verifierOptions(hostname: string): Required<Pick<VerifierOptions, 'teamDomain' | 'audience' | 'fetch'>>
  /** Asks as a stranger: no cookies. For a machine: `{ headers: dev.serviceToken.headers }`. */
  readonly fetch: DevFetch
  /** Signs somebody in on the edge's pages. Default: the sample person. @throws PosternError AUTH_REJECTED */
  signIn(person?: SamplePerson): Promise<Visitor>
  /** Somebody else in the edge's directory, with a password of their own. */
  addPerson(person: WantedPerson): Promise<SamplePerson>
}

/** @param prepare starts what is behind it from the beginning. @throws PosternError LISTEN_FAILED, and what edge and daemon throw */
export async function startSite<P extends { readonly services: readonly SampleRule[] }>(
  { port = 0, endToEnd = false }: DevOptions,
  prepare: (begun: Begun) => Promise<P>,
  call: Call,
): Promise<{ readonly site: DevSite; readonly prepared: P }> {
  await using owned = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'postern-dev-'))
  owned.defer(() => rmSync(folder, { recursive: true, force: true }))
  const data = join(folder, 'edge')
  const { caFile } = await initialiseEdge({ data, teamDomain: TEAM_DOMAIN }, call)
  const ca = readFileSync(caFile, 'utf8')
  const listen = { host: '127.0.0.1', port }
  const edge = owned.use(await startEdge({ data, listen, grace: GRACE, passwordCost: PASSWORD_COST }, call))
  const to = { edge: new URL(edge.team), trust: { ca: [ca] } }
  const adding = addSamplePerson(edge, call) // a password takes its time; the daemon connects meanwhile
  adding.catch(() => {})
  const serviceToken = await addToken(edge, folder)
  const who = await enrol(edge, TUNNEL, ca, endToEnd)
  const prepared = await prepare({ folder, edge, to, serviceToken, owned })
  const daemon = owned.use(new SampleDaemon(to, call))
  await daemon.start(who, prepared.services)
  const person = await adding
  writeClientConfig(folder, edge, caFile, serviceToken)
  const postern = writeCommand(folder, edge)
  const parts = owned.move()
  const { pin } = who
  const site: DevSite = {
    ...{ folder, port: edge.port, edge, caFile, ca, serviceToken, person, postern, ...(pin !== undefined && { pin }) },
    ...waysIn(edge, to, person, call),
    expose: (hostname, service, options) => expose({ edge, daemon, serviceToken }, hostname, service, options),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
  return { site, prepared }
}

/** What there is before the daemon. */
export interface Begun {
  readonly folder: string
  readonly edge: RunningEdge
  readonly to: TeamAddress
  readonly serviceToken: DevToken
  /** Takes what is started for it. */
  readonly owned: AsyncDisposableStack
}

function waysIn(
  edge: RunningEdge,
  to: TeamAddress,
  sample: SamplePerson,
  { signal }: Call,
): Pick<DevSite, 'verifierOptions' | 'fetch' | 'signIn' | 'addPerson'> {
  const visited = { team: edge.team, ca: to.trust?.ca.join('\n') ?? '' }
  return {
    verifierOptions(audience) {
      const { team: teamDomain, fetch } = originHost(to)
      return { teamDomain, audience, fetch }
    },
    fetch: strangersFetch(visited),
    signIn: (person = sample) => signIn(visited, person, signal),
    addPerson: person => addPerson(edge, person, signal),
  }
}

async function addSamplePerson(edge: RunningEdge, { signal }: Call): Promise<SamplePerson> {
  const person = await addPerson(edge, { email: 'ann@example.com', name: 'Ann', groups: [STAFF] }, signal)
  await edge.administration.call('settings.put', { body: { administrators: [{ email: person.email }] } })
  return person
}

async function addToken({ administration }: RunningEdge, folder: string): Promise<DevToken> {
  const { id, secret } = await administration.call('service-token.create', { body: { name: 'sample' } })
  const secretFile = join(folder, 'service-token')
  writeFileSync(secretFile, `${secret}\n`, { mode: 0o600 })
  return { id, secret, secretFile, headers: { 'postern-client-id': id, 'postern-client-secret': secret } }
}

interface Exposing {
  readonly edge: RunningEdge
  readonly daemon: SampleDaemon
  readonly serviceToken: DevToken
}

async function expose(
  { edge, daemon, serviceToken }: Exposing,
  name: string,
  service: string,
  { groups = [STAFF] }: ExposeOptions = {},
): Promise<Exposed> {
  const { hostname } = readHostname(name)
  if (!isLoopbackName(hostname))
    throw new PosternError('HOSTNAME_INVALID', `${hostname} is not below .localhost`, {
      next: 'Give it a name such as shop.localhost: that is this machine, without DNS.',
    })
  const { protocol, serve } = await daemon.offer(hostname, service)
  const rules = rulesFor(serviceToken, groups)
  const body = { hostname, tunnel: TUNNEL, protocols: [protocol], rules, options: { name: hostname } }
  await edge.administration.call('application.create', { body })
  serve()
  const address = edge.port === 443 ? hostname : `${hostname}:${edge.port}`
  return { hostname, address, url: `https://${address}/` }
}

/** People of these groups, and the machine. */
export function rulesFor({ id }: DevToken, groups: readonly string[] = [STAFF]) {
  const people = groups.map(group => ({ name: group, action: 'allow' as const, include: [{ group }] }))
  return [...people, { name: 'the sample token', action: 'allow' as const, include: [{ serviceToken: id }] }]
}
