import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { freePort } from '@postern/dev'
import { createAuthority, issueCertificate, makeKey, publicKeyOf } from '@postern/pki'
import { requireNginx, startNginx } from '../http/nginx.ts'
import { keep } from '../programs.ts'
import type { TlsPeer, Visit, Visitors } from './peer.ts'

const NAME = 'nginx.localhost'

/** nginx, one process, which answers by itself: at one port to everybody, at another to who has a certificate. */
export async function startServers(folder: string, visitors: Visitors): Promise<TlsPeer> {
  const [plain, asking] = [await freePort(), await freePort()]
  const { ca, pair } = await serverCertificate()
  const files = [keep(folder, 'server.pem', pair.cert), keep(folder, 'server-key.pem', pair.key)]
  const secured = (port: number) =>
    `listen 127.0.0.1:${port} ssl; ssl_certificate ${files[0]}; ssl_certificate_key ${files[1]};
     ssl_protocols TLSv1.3; location / { return 200 "good"; }`
  const verified = `ssl_verify_client on; ssl_client_certificate ${keep(folder, 'clients.pem', visitors.ca)};`
  const servers = `server { ${secured(plain)} } server { ${secured(asking)} ${verified} }`
  const nginx = await startNginx(join(folder, 'nginx'), servers, `https://127.0.0.1:${plain}/`, {})
  const visit = (port: number): Visit => ({
    port,
    servername: NAME,
    ca,
    request: `GET / HTTP/1.1\r\nHost: ${NAME}\r\n\r\n`,
    answer: 'HTTP/1.1 200',
  })
  return {
    visits: { tls: visit(plain), mtls: { ...visit(asking), pair: visitors.pair } },
    pid: nginx.pid,
    facts: {
      version: spawnSync(requireNginx(), ['-v'], { encoding: 'utf8' }).stderr.trim(),
      answers: 'return 200; with ssl_verify_client on',
    },
    [Symbol.asyncDispose]: () => nginx[Symbol.asyncDispose](),
  }
}

/** Of the kind that the edge's own CA issues: EC P-256. */
async function serverCertificate(): Promise<Visitors> {
  const authority = await createAuthority({ commonName: 'bench servers', days: 2 })
  const key = await makeKey()
  const { cert } = await issueCertificate(authority, {
    publicKey: publicKeyOf(key),
    san: [{ type: 'dns', value: NAME }],
    seconds: 86_400,
    usage: 'server',
  })
  return { ca: authority.cert, pair: { cert, key } }
}
