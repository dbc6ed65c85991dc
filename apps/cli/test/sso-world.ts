import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { authority } from '@postern/testkit'

const script = join(import.meta.dirname, '../bin/postern.js')
export const APP = 'app.postern.test'
export const TEAM = 'team.postern.test'

export interface Seen {
  readonly host: string
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** What a port does that answers as an edge does, with applications behind it, and an authorization server that says yes. */
export interface SsoWorld extends AsyncDisposable {
  readonly folder: string
  readonly port: number
  /** Requests to applications. */
  readonly seen: Seen[]
  /** Every secret that was handed out. */
  readonly secrets: Set<string>
  /** Ends the sign-ins there are. */
  endAll(): void
  /** Ends one of its secrets. */
  revoke(secret: string): void
  /** What an application answers, by path. */
  readonly answers: Map<string, (request: IncomingMessage, response: ServerResponse) => void>
  /** `postern access … --edge … --ca …`, at somebody's home, where there is no terminal. */
  start(args: readonly string[], env?: NodeJS.ProcessEnv): Started
  run(args: readonly string[], env?: NodeJS.ProcessEnv): Promise<Ended>
  /** Signs in, as who opens the address that is shown. */
  login(...more: string[]): Promise<Ended>
}

export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface Started {
  readonly child: ChildProcess
  readonly ended: Promise<Ended>
  /** The first match in what it says, on either. */
  says(pattern: RegExp): Promise<RegExpExecArray>
}

export async function startSsoWorld(): Promise<SsoWorld> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-sso-'))
  const { ca, issue } = await authority()
  const names = [APP, TEAM, 'other.postern.test', 'evil.test']
  const { cert, key } = await issue({ commonName: APP, dnsNames: names })
  writeFileSync(join(folder, 'ca.pem'), ca)
  const seen: Seen[] = []
  const secrets = new Set<string>()
  const valid = new Set<string>()
  const answers: SsoWorld['answers'] = new Map()
  const mint = (kind: string) => {
    const secret = `canary-${kind}-${crypto.randomUUID()}`
    secrets.add(secret)
    valid.add(secret)
    return secret
  }
  const server = createServer({ cert, key }, async (request, response) => {
    const host = (request.headers.host ?? '').replace(/:\d+$/, '')
    const { pathname } = new URL(request.url ?? '/', `https://${host}`)
    const json = (status: number, value: object) => response.writeHead(status).end(JSON.stringify(value))
    if (pathname === '/.well-known/oauth-protected-resource')
      return json(200, { resource: `https://${host}:${port()}`, authorization_servers: [team()] })
    const body = await text(request)
    if (host === TEAM) return json(...(await authorize(pathname, new URLSearchParams(body))))
    seen.push({ host, method: request.method ?? '', url: request.url ?? '', headers: request.headers, body })
    const token = request.headers['postern-access-token'] ?? request.headers['postern-client-secret']
    if (token !== 'psts_service' && !valid.has(String(token)))
      return response
        .writeHead(401, {
          'www-authenticate': `Bearer resource_metadata="https://${host}:${port()}/.well-known/oauth-protected-resource"`,
        })
        .end('{}')
    const answer = answers.get(pathname)
    if (answer) return answer(request, response)
    response.writeHead(200, { 'content-type': 'text/plain' }).end(`hello from ${host}${request.url}: ${body}`)
  })
  server.on('upgrade', (request, socket) => {
    seen.push({ host: APP, method: 'UPGRADE', url: request.url ?? '', headers: request.headers, body: '' })
    socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: Upgrade\r\n\r\nwelcome ')
    socket.on('error', () => {}).pipe(socket)
  })
  const port = () => (server.address() as AddressInfo).port
  const team = () => `https://${TEAM}:${port()}`

  async function authorize(path: string, form: URLSearchParams): Promise<[number, object]> {
    if (path === '/.well-known/oauth-authorization-server') {
      const at = (name: string) => `${team()}/oauth/${name}`
      return [
        200,
        {
          issuer: team(),
          authorization_endpoint: at('authorize'),
          token_endpoint: at('token'),
          device_authorization_endpoint: at('device'),
          revocation_endpoint: at('revoke'),
          userinfo_endpoint: at('userinfo'),
          code_challenge_methods_supported: ['S256'],
        },
      ]
    }
    if (path === '/oauth/userinfo')
      return [200, { sub: 'ann', email: 'ann@example.com', session_expires_at: 4_102_444_800 }]
    if (path === '/oauth/revoke') valid.delete(form.get('token') ?? '')
    if (path !== '/oauth/token') return [200, {}]
    const given = form.get('code') ?? form.get('refresh_token') ?? form.get('subject_token') ?? ''
    if (!valid.has(given)) return [400, { error: 'invalid_grant' }]
    if (form.has('subject_token')) return [200, { access_token: mint('token'), expires_in: 600 }]
    return [200, { access_token: mint('access'), refresh_token: mint('refresh'), expires_in: 600 }]
  }

  /** What the person's browser is sent back to. */
  function approve(url: URL): string {
    const code = mint('code')
    const parameters = { code, state: url.searchParams.get('state') ?? '', iss: team() }
    return `${url.searchParams.get('redirect_uri')}?${new URLSearchParams(parameters)}`
  }

  await once(server.listen(0, '127.0.0.1'), 'listening')
  const at = ['--edge', `https://127.0.0.1:${port()}`, '--ca', join(folder, 'ca.pem')]
  const start: SsoWorld['start'] = ([command = '', ...args], env = {}) =>
    started(['access', command, ...(command === 'curl' ? [...at, ...args] : [...args, ...at])], {
      POSTERN_HOME: join(folder, 'home'),
      ...env,
    })
  return {
    folder,
    port: port(),
    seen,
    secrets,
    answers,
    endAll: () => valid.clear(),
    revoke: secret => void valid.delete(secret),
    start,
    run: (args, env) => start(args, env).ended,
    async login(...more) {
      const running = start(['login', APP, '--no-browser', '--trust-team', TEAM, ...more], { DISPLAY: ':none' })
      const [, address = ''] = await running.says(/^(https:\S+authorize\S+)$/m)
      await fetch(approve(new URL(address)))
      return running.ended
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      rmSync(folder, { recursive: true })
    },
  }
}

function started(args: readonly string[], env: NodeJS.ProcessEnv): Started {
  const child = spawn(process.execPath, [script, ...args], {
    env: { PATH: process.env.PATH, ...env },
    detached: true, // a session of its own: no terminal to ask at
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 30_000,
  })
  let [stdout, stderr] = ['', '']
  const heard = new Set<() => void>()
  const hear = () => {
    for (const one of heard) one()
  }
  child.stdout.on('data', chunk => {
    stdout += chunk
    hear()
  })
  child.stderr.on('data', chunk => {
    stderr += chunk
    hear()
  })
  return {
    child,
    ended: once(child, 'close').then(([code]) => ({ code, stdout, stderr })),
    says: pattern =>
      new Promise((resolve, reject) => {
        const look = () => {
          const match = pattern.exec(`${stderr}\n${stdout}`)
          if (match) resolve(match)
        }
        heard.add(look)
        child.once('close', () => reject(new Error(`it never said ${pattern}: ${stderr}${stdout}`)))
        look()
      }),
  }
}
