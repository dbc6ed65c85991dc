import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '@postern/dev'
import { find, PEERS } from '../../scripts/peers.mjs'
import { Started } from '../processes.ts'
import type { Found, Peer, Setting } from './peer.ts'
import { SERVER_NAME, type TlsFiles } from './tls.ts'

/** One of three in a row: it listens, and passes everything on. */
interface Hop {
  readonly listen: string
  /** Whether TLS is what comes, and what goes on. */
  readonly secured: { readonly in: boolean; readonly out: boolean }
  readonly to: string
}

type Configure = (hop: Hop, tls: TlsFiles) => string
const CIPHER = 'TLS_AES_128_GCM_SHA256'
const ENCRYPTS = `TLS 1.3, ${CIPHER}, on both hops; nobody signs in`

const haproxy: Configure = (hop, tls) => {
  const secure = hop.secured.in ? ` ssl crt ${tls.bothFile} ssl-min-ver TLSv1.3 ciphersuites ${CIPHER}` : ''
  const verified = `ssl verify required ca-file ${tls.caFile} sni str(${SERVER_NAME}) verifyhost ${SERVER_NAME}`
  const onward = hop.secured.out ? ` ${verified} ssl-min-ver TLSv1.3 ciphersuites ${CIPHER}` : ''
  return `global
  nbthread 1
  maxconn 8000
defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
listen pass
  bind ${hop.listen}${secure}
  server next ${hop.to}${onward}
`
}

const MODULE = PEERS['nginx-stream']?.path ?? ''

const nginx: Configure = (hop, tls) => {
  const secure = hop.secured.in ? `ssl_certificate ${tls.certFile}; ssl_certificate_key ${tls.keyFile};` : ''
  const onward = hop.secured.out
    ? `proxy_ssl on; proxy_ssl_protocols TLSv1.3; proxy_ssl_verify on; proxy_ssl_server_name on; proxy_ssl_name ${SERVER_NAME};
       proxy_ssl_trusted_certificate ${tls.caFile}; proxy_ssl_conf_command Ciphersuites ${CIPHER};`
    : ''
  return `load_module ${MODULE};
worker_processes 1; master_process off; daemon off; pid /dev/null; error_log stderr crit;
worker_rlimit_nofile 20000; events { worker_connections 8000; }
stream {
  ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites ${CIPHER};
  server {
    listen ${hop.listen}${hop.secured.in ? ' ssl' : ''} so_keepalive=on; ${secure}
    proxy_pass ${hop.to}; ${onward} proxy_timeout 1h; tcp_nodelay on;
  }
}
`
}

/** HAProxy three times, and nginx three times, beside the user, in the middle and beside the service. */
export function findProxies(setting: Setting, tls: TlsFiles): Found {
  const found: Found[] = [
    one(setting, tls, 'haproxy', find('haproxy'), haproxy, file => ['-db', '-f', file], ['-v']),
    one(
      setting,
      tls,
      'nginx',
      existsSync(MODULE) ? find('nginx') : undefined,
      nginx,
      file => ['-e', 'stderr', '-p', setting.folder, '-c', file],
      ['-v'],
    ),
  ]
  return { there: found.flatMap(each => each.there), missing: found.flatMap(each => each.missing) }
}

function one(
  setting: Setting,
  tls: TlsFiles,
  name: string,
  program: string | undefined,
  configure: Configure,
  args: (file: string) => readonly string[],
  version: readonly string[],
): Found {
  if (!program) {
    const packages = [name, `${name}-stream`].flatMap(peer => PEERS[peer]?.package ?? [])
    return { there: [], missing: [{ name, needs: `apt-get install ${packages.join(' ')}` }] }
  }
  const { stdout, stderr } = spawnSync(program, version, { encoding: 'utf8' })
  const facts = { version: `${stdout}${stderr}`.trim().split('\n')[0] ?? '', encrypts: ENCRYPTS }
  const start = () =>
    startThree(
      setting,
      (hop, file) => {
        writeFileSync(file, configure(hop, tls))
        return new Started(program, args(file))
      },
      name,
    )
  return { there: [{ name, facts, start }], missing: [] }
}

async function startThree(
  { folder, load }: Setting,
  run: (hop: Hop, file: string) => Started,
  name: string,
): Promise<Peer> {
  await using owned = new AsyncDisposableStack()
  const ports = [await freePort(), await freePort(), await freePort()]
  const at = (port: number | undefined) => `127.0.0.1:${port}`
  mkdirSync(join(folder, name), { recursive: true })
  const hops = [
    { listen: at(ports[0]), secured: { in: false, out: true }, to: at(ports[1]) },
    { listen: at(ports[1]), secured: { in: true, out: true }, to: at(ports[2]) },
    { listen: at(ports[2]), secured: { in: true, out: false }, to: at(load.port) },
  ]
  const started = hops.map((hop, index) => owned.use(run(hop, join(folder, name, `${index}.conf`))))
  const [first] = started
  const port = ports[0] ?? 0
  await first?.until(() => load.reaches(port))
  const parts = owned.move()
  return { port, pids: started.map(each => each.pid), [Symbol.asyncDispose]: () => parts.disposeAsync() }
}
