import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type EdgeConfig, initialiseEdge, type RunningEdge, startEdge } from '@postern/edge'
import type { Call } from '@postern/interface'
import { WebSocketServer } from 'ws'
import { quiet } from './lab.ts'
import { type Running, start } from './program.ts'

export const TEAM = 'edge.localhost'
const TUNNEL = 'home'

/** A team's edge, in this process, and its daemon, with as many applications as are wanted. */
export interface Site extends AsyncDisposable {
  readonly edge: RunningEdge
  readonly folder: string
  readonly caFile: string
  /** `https://edge.localhost:12345` */
  readonly team: string
  readonly daemon: Running
  /** `https://wiki.localhost:12345` */
  at(hostname: string): string
  /** `postern` with what it needs to find this edge; nothing of this machine's user. */
  postern(args: readonly string[], env?: NodeJS.ProcessEnv): Running
  /** A person of the directory who has opened their link. */
  person(email: string, password: string, groups?: readonly string[]): Promise<void>
}

export interface SiteApplication {
  readonly service: string
  readonly protocols: string[]
  readonly rules: {
    name: string
    action: 'allow' | 'deny' | 'bypass' | 'service'
    include: object[]
    exclude?: object[]
    permit?: object
  }[]
  readonly options?: object
  /** `options:` of the daemon's rule for `service`. */
  readonly serviceOptions?: object
  /** Further services of the hostname, for another protocol. */
  readonly others?: readonly string[]
}

/** The applications by hostname, and groups that their rules name. */
export async function startSite(
  applications: Readonly<Record<string, SiteApplication>>,
  config: Partial<EdgeConfig> = {},
  groups: readonly { readonly name: string; readonly selectors: object[] }[] = [],
): Promise<Site> {
  await using owned = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'postern-site-'))
  owned.defer(() => rmSync(folder, { recursive: true, force: true }))
  const data = join(folder, 'edge')
  const call: Call = { signal: new AbortController().signal, log: quiet }
  const { caFile } = await initialiseEdge({ data, teamDomain: TEAM }, call)
  // Whole programs keep passwords as in production (canaries, newcomer, providers); here each would be 0.2 s of a core.
  const edge = owned.use(await startEdge({ data, listen: { port: 0 }, grace: 500, passwordCost: 8, ...config }, call))
  const { administration } = edge
  await administration.call('tunnel.create', { body: { name: TUNNEL } })
  for (const { name, selectors } of groups)
    await administration.call('group.put', { params: { name }, body: { selectors } } as never)
  for (const [hostname, { protocols, rules, options }] of Object.entries(applications)) {
    const body = { hostname, tunnel: TUNNEL, protocols, rules, ...(options && { options }) }
    await administration.call('application.create', { body } as never)
  }
  const { token } = await administration.call('tunnel-token.create', { params: { name: TUNNEL }, body: {} })
  const team = `https://${TEAM}:${edge.port}`
  const daemon = startDaemon(folder, { token, caFile, team }, applications)
  owned.defer(async () => void (await daemon.stop('SIGKILL')))
  await daemon.says(/connected to the edge/)
  const home = join(folder, 'home')
  const parts = owned.move()
  return {
    edge,
    folder,
    caFile,
    team,
    daemon,
    at: hostname => `https://${hostname}:${edge.port}`,
    postern: (args, env = {}) => start('postern', args, { env: { POSTERN_HOME: home, POSTERN_CA: caFile, ...env } }),
    async person(email, password, groups = []) {
      const { link } = await administration.call('user.invite', { body: { email, groups: [...groups] } })
      await acceptInvitation(link, password)
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

interface Place {
  readonly token: string
  readonly caFile: string
  readonly team: string
}

function startDaemon(folder: string, place: Place, applications: Readonly<Record<string, SiteApplication>>): Running {
  const tokenFile = join(folder, 'tunnel-token')
  writeFileSync(tokenFile, place.token, { mode: 0o600 })
  const ingress = Object.entries(applications).flatMap(([hostname, { service, serviceOptions, others = [] }]) => [
    { hostname, service, ...(serviceOptions && { options: serviceOptions }) },
    ...others.map(one => ({ hostname, service: one })),
  ])
  const config = join(folder, 'posternd.yaml')
  writeFileSync(config, JSON.stringify({ edge: place.team, ca: place.caFile, tokenFile, ingress }), { mode: 0o600 })
  return start('posternd', ['run', '--config', config])
}

/** As a browser does it: the page, its form, the answer. */
export async function acceptInvitation(link: string, password: string): Promise<void> {
  const page = await fetchTrusting(link)
  const fields = new URLSearchParams({ name: 'Somebody', password })
  for (const [, name = '', value = ''] of page.body.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)">/g))
    fields.set(name, value)
  const cookie = page.cookies.map(one => one.split(';', 1)[0]).join('; ')
  const headers = { cookie, origin: new URL(link).origin, 'content-type': 'application/x-www-form-urlencoded' }
  const done = await fetchTrusting(link, { method: 'POST', headers, body: fields.toString() })
  if (done.status >= 400) throw new Error(`the invitation was not accepted: ${done.status} ${done.body}`)
}

interface Fetched {
  readonly status: number
  readonly body: string
  readonly cookies: readonly string[]
  readonly headers: IncomingMessage['headers']
}

/** A request to this machine, whatever the name and the certificate; redirects are not followed. */
export async function fetchTrusting(
  url: string,
  asked: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<Fetched> {
  const { request } = await import('node:https')
  const { hostname, port, pathname, search, host } = new URL(url)
  const { method = 'GET', headers = {}, body } = asked
  return new Promise((resolve, reject) => {
    const place = { host: '127.0.0.1', port, servername: hostname, path: pathname + search, rejectUnauthorized: false }
    const asking = request(
      { ...place, method, agent: false, headers: { host, accept: 'text/html', ...headers } },
      answer => {
        let text = ''
        answer.setEncoding('utf8').on('data', chunk => (text += chunk))
        answer.on('error', reject).on('end', () =>
          resolve({
            status: answer.statusCode ?? 0,
            body: text,
            cookies: answer.headers['set-cookie'] ?? [],
            headers: answer.headers,
          }),
        )
      },
    )
    asking.setTimeout(20_000, () => asking.destroy(new Error('no answer'))).on('error', reject)
    asking.end(body)
  })
}

/** A web application that counts who came, and echoes what a WebSocket says. */
export interface WebOrigin extends AsyncDisposable {
  readonly service: string
  /** Requests and upgrades so far, as they came. */
  readonly requests: readonly IncomingMessage[]
  readonly connections: number
}

export async function startWebOrigin(
  serve: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<WebOrigin> {
  const requests: IncomingMessage[] = []
  const sockets = new Set<Socket>()
  let connections = 0
  const server = createServer((request, response) => {
    requests.push(request)
    serve(request, response)
  })
  const echo = new WebSocketServer({ server })
  echo.on('connection', (socket, request) => {
    requests.push(request)
    socket.on('error', () => {}).on('message', data => socket.send(`you said ${data}`))
    socket.send('hello')
  })
  server.on('connection', socket => {
    connections++
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', () => resolve()))
  return {
    service: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    get connections() {
      return connections
    },
    async [Symbol.asyncDispose]() {
      echo.close()
      for (const socket of sockets) socket.destroy()
      await new Promise<void>(resolve => server.close(() => resolve()))
    },
  }
}
