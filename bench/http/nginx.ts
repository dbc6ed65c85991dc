import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '@postern/dev'
import { find, PEERS } from '../../scripts/peers.mjs'
import { Started } from '../processes.ts'
import type { HttpPeer } from './peer.ts'

/** The pages: their names, and how many bytes each has. */
export const PAGES = { '1k': 1024, '100k': 102_400 } as const

/** @throws with the command that brings it */
export function requireNginx(): string {
  const nginx = find('nginx')
  if (nginx !== undefined) return nginx
  throw new Error(`Postern is compared with nginx, and it is not here: apt-get install ${PEERS.nginx?.package}`)
}

/** The pages, served by an nginx of their own. It is the same for everybody and no part of any figure. */
export async function startPages(folder: string): Promise<AsyncDisposable & { readonly port: number }> {
  const pages = join(folder, 'pages')
  mkdirSync(pages)
  for (const [name, size] of Object.entries(PAGES)) writeFileSync(join(pages, name), randomBytes(size))
  const port = await freePort()
  const server = `server { listen 127.0.0.1:${port}; root ${pages}; }`
  const nginx = await startNginx(join(folder, 'origin'), server, `http://127.0.0.1:${port}/1k`, {})
  return { port, [Symbol.asyncDispose]: () => nginx[Symbol.asyncDispose]() }
}

export interface Tls {
  readonly certFile: string
  readonly keyFile: string
}

/**
 * nginx as people build this with it: one at the public port, which asks `auth_request` about every request and passes it on over
 * TLS to one beside the service. Both keep their connections; each has one process, as the edge and the daemon have.
 */
export async function startGates(folder: string, service: number, tls: Tls): Promise<HttpPeer> {
  await using owned = new AsyncDisposableStack()
  const [outer, inner, asked] = [await freePort(), await freePort(), await freePort()]
  const secret = randomBytes(32).toString('base64url')
  const secured = (port: number) =>
    `listen 127.0.0.1:${port} ssl; ssl_certificate ${tls.certFile}; ssl_certificate_key ${tls.keyFile};`
  const passing = 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;'
  const beside = `
    upstream service { server 127.0.0.1:${service}; keepalive 128; }
    server { ${secured(inner)} keepalive_requests 1000000; location / { proxy_pass http://service; ${passing} } }`
  const front = `
    map $http_postern_client_secret $known { default 0; ${secret} 1; }
    upstream inner { server 127.0.0.1:${inner}; keepalive 128; keepalive_requests 1000000; }
    upstream asked { server 127.0.0.1:${asked}; keepalive 128; keepalive_requests 1000000; }
    server { listen 127.0.0.1:${asked}; keepalive_requests 1000000; location / { if ($known = 0) { return 401; } return 204; } }
    server {
      ${secured(outer)} keepalive_requests 1000000;
      location / { auth_request /ask; proxy_pass https://inner; ${passing} }
      location = /ask { internal; proxy_pass http://asked; proxy_pass_request_body off; proxy_set_header Content-Length ""; ${passing} }
    }`
  const headers = { 'postern-client-id': 'bench', 'postern-client-secret': secret }
  const url = `https://127.0.0.1:${outer}`
  const behind = owned.use(await startNginx(join(folder, 'beside'), beside, `https://127.0.0.1:${inner}/1k`, {}))
  const before = owned.use(await startNginx(join(folder, 'front'), front, `${url}/1k`, headers))
  const version = spawnSync(requireNginx(), ['-v'], { encoding: 'utf8' }).stderr.trim()
  const parts = owned.move()
  return {
    name: 'nginx',
    url,
    headers,
    pids: [before.pid, behind.pid],
    facts: { version, ways: 'auth_request, then proxy_pass over TLS' },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

/** One nginx with one process, which logs nothing of its visitors. */
export async function startNginx(
  folder: string,
  http: string,
  probe: string,
  headers: Readonly<Record<string, string>>,
): Promise<Started> {
  mkdirSync(folder)
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map(name => `${name}_temp_path ${join(folder, name)};`)
    .join(' ')
  const file = join(folder, 'nginx.conf')
  const events = 'worker_processes 1; master_process off; daemon off; events { worker_connections 2048; }'
  writeFileSync(
    file,
    `${events} pid ${join(folder, 'pid')}; error_log stderr error;
     http { access_log off; keepalive_timeout 600; keepalive_requests 1000000; sendfile on; tcp_nodelay on; ${temporary} ${http} }`,
  )
  const started = new Started(requireNginx(), ['-e', 'stderr', '-p', folder, '-c', file])
  try {
    await started.until(() => answers(probe, headers))
  } catch (error) {
    await started[Symbol.asyncDispose]()
    throw error
  }
  return started
}

/** Whether a page comes; the certificate may be anybody's. */
export async function answers(url: string, headers: Readonly<Record<string, string>>): Promise<boolean> {
  const { request } = url.startsWith('https:') ? await import('node:https') : await import('node:http')
  return new Promise(resolve => {
    const asking = request(url, { headers, rejectUnauthorized: false, agent: false, timeout: 5000 }, answer => {
      resolve(answer.statusCode === 200)
      answer.destroy()
    })
    asking.on('timeout', () => asking.destroy()).on('error', () => resolve(false))
    asking.end()
  })
}
