import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '@postern/dev'
import { find, PEERS } from '../../scripts/peers.mjs'
import { isListening, Started } from '../processes.ts'
import type { Found, Peer, Setting } from './peer.ts'
import { SERVER_NAME, type TlsFiles } from './tls.ts'

/** hashicorp/yamux in one TLS between two Go programs, past a third that copies it: what frp and ngrok are like. */
export function findYamux(setting: Setting, tls: TlsFiles): Found {
  const go = find('go')
  if (!go || !existsSync(PEERS['go-yamux']?.path ?? '')) {
    const needs = `apt-get install ${PEERS.go?.package} ${PEERS['go-yamux']?.package}`
    return { there: [], missing: [{ name: 'go-yamux', needs }] }
  }
  const binary = join(setting.folder, 'go-yamux')
  const env = { ...process.env, GO111MODULE: 'off', GOPATH: '/usr/share/gocode', GOFLAGS: '' }
  execFileSync(go, ['build', '-o', binary, join(import.meta.dirname, 'yamux', 'main.go')], { env, stdio: 'inherit' })
  const version = execFileSync(go, ['version'], { encoding: 'utf8' }).trim()
  const facts = { version, encrypts: 'TLS 1.3 end to end, AES-128-GCM; the server’s certificate only' }
  return { there: [{ name: 'go-yamux', facts, start: () => start(setting, tls, binary) }], missing: [] }
}

async function start({ load }: Setting, tls: TlsFiles, binary: string): Promise<Peer> {
  await using owned = new AsyncDisposableStack()
  const [users, servers, port] = [await freePort(), await freePort(), await freePort()]
  const at = (to: number) => `127.0.0.1:${to}`
  const run = (...args: string[]) => owned.use(new Started(binary, args))
  const relay = run('relay', at(users), at(servers))
  // Whoever finds the relay not yet there ends at once: it has to listen before they come.
  await relay.until(() => isListening(users, relay.pid) && isListening(servers, relay.pid))
  const server = run('server', at(servers), tls.certFile, tls.keyFile, at(load.port))
  const client = run('client', at(users), tls.caFile, SERVER_NAME, at(port))
  await client.until(() => load.reaches(port))
  const parts = owned.move()
  return { port, pids: [relay.pid, server.pid, client.pid], [Symbol.asyncDispose]: () => parts.disposeAsync() }
}
