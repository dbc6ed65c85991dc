import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { makeSessionKey } from '../src/session-key.ts'
import { daemonContext, secureAsClient, secureAsDaemon } from '../src/tls.ts'
import { call, type TestTunnel } from './world.ts'

/** Two ends of one TCP connection. */
export async function socketPair(): Promise<readonly [Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true, noDelay: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const one = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
  const [[other]] = (await Promise.all([once(server, 'connection'), once(one, 'connect')])) as [[Socket], unknown]
  server.close()
  return [one, other]
}

/** Two TCP connections, and whoever is between them. */
export interface Carried {
  readonly clientEnd: Socket
  readonly daemonEnd: Socket
  /** The carrier's: what it reads of the client, and of the daemon. */
  readonly ofClient: Socket
  readonly ofDaemon: Socket
}

export async function carried(): Promise<Carried> {
  const [[clientEnd, ofClient], [daemonEnd, ofDaemon]] = await Promise.all([socketPair(), socketPair()])
  ofClient.on('error', () => ofDaemon.resetAndDestroy())
  ofDaemon.on('error', () => ofClient.resetAndDestroy())
  return { clientEnd, daemonEnd, ofClient, ofDaemon }
}

/** Carries all there is, ends too. */
export function carry({ ofClient, ofDaemon }: Carried): void {
  ofClient.pipe(ofDaemon)
  ofDaemon.pipe(ofClient)
}

/** TLS between the two, through a carrier who is set to work before. */
export async function joinSockets(tunnel: TestTunnel, between: Carried) {
  const key = await makeSessionKey()
  const [client, daemon] = await Promise.all([
    secureAsClient(between.clientEnd, tunnel.wanted, key, call),
    secureAsDaemon(between.daemonEnd, daemonContext(tunnel), call),
  ])
  return { client, daemon: daemon.pipe, proved: daemon.client, key }
}
