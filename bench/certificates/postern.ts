import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '@postern/dev'
import { answers } from '../http/nginx.ts'
import { ENVIRONMENT, Started } from '../processes.ts'
import { HOSTNAME, initialise, keep, scriptOf, versionOf } from '../programs.ts'
import type { TlsPeer, Visit, Visitors } from './peer.ts'

const WITH_CERTIFICATE = 'devices.localhost'

/**
 * `postern-edge`, built, with one application for a service token and one for certificates. There is no daemon: it decides, writes its
 * audit row, and says that it has nobody to pass the request on to.
 */
export async function startEdge(folder: string, visitors: Visitors): Promise<TlsPeer> {
  await using owned = new AsyncDisposableStack()
  const data = join(folder, 'edge')
  const { serviceToken, caFile } = initialise(data, '--protocols', 'http')
  const port = await freePort()
  const flags = ['run', '--data', data, '--listen', `127.0.0.1:${port}`, '--log-level', 'error']
  const edge = owned.use(new Started(process.execPath, [scriptOf('postern-edge'), ...flags]))
  // Its team domain publishes its keys.
  const keys = `https://127.0.0.1:${port}/.well-known/jwks.json`
  await edge.until(() => answers(keys, { Host: `edge.localhost:${port}` }))
  const administer = (...words: string[]) =>
    execFileSync(process.execPath, [scriptOf('postern'), 'admin', ...words, '--data', data], {
      env: ENVIRONMENT,
      stdio: 'pipe',
    })
  administer('ca', 'import', 'bench', '--cert', keep(folder, 'visitors.pem', visitors.ca))
  administer('app', 'create', WITH_CERTIFICATE, '--tunnel', 'bench', '--protocol', 'http')
  administer('policy', 'allow', WITH_CERTIFICATE, '--certificate', 'ca=bench')
  const shown = `postern-client-id: ${serviceToken.id}\r\npostern-client-secret: ${serviceToken.secret}\r\n`
  const visit = (servername: string, more: string): Visit => ({
    port,
    servername,
    ca: readFileSync(caFile, 'utf8'),
    request: `GET / HTTP/1.1\r\nHost: ${servername}:${port}\r\nAccept: application/json\r\n${more}\r\n`,
    answer: 'HTTP/1.1 503',
  })
  const parts = owned.move()
  return {
    visits: { tls: visit(HOSTNAME, shown), mtls: { ...visit(WITH_CERTIFICATE, ''), pair: visitors.pair } },
    pid: edge.pid,
    facts: {
      version: versionOf('postern-edge'),
      answers: 'after a decision and its audit row; no daemon is connected',
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}
