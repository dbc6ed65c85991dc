import { createPublicKey } from 'node:crypto'
import type { AddressInfo, Socket } from 'node:net'
import { createServer, connect as tlsConnect } from 'node:tls'
import { createAuthority, issueCertificate, makeKey } from '@postern/pki'

export interface OlderEdge extends AsyncDisposable {
  readonly port: number
  /** PEM of its CA. */
  readonly ca: string
  /** How many asked it to be joined. */
  readonly asked: () => number
}

/** What an edge of a later version would be asked for, as one that has not heard of it yet hears it: of the same length. */
const LATER = [
  ['postern-join-1', 'postern-join-9'],
  ['upgrade: postern/1', 'upgrade: postern/9'],
] as const

/** In front of an edge: all that is said of joins, and of its own protocol in an upgrade, is of a version that the edge does not speak. */
export async function startOlderEdge(edge: number, caOfEdge: string, hostname: string): Promise<OlderEdge> {
  const authority = await createAuthority({ commonName: 'older', days: 1 })
  const key = await makeKey()
  const { cert } = await issueCertificate(authority, {
    publicKey: createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString(),
    san: [{ type: 'dns', value: hostname }],
    seconds: 3600,
    usage: 'server',
  })
  let asked = 0
  const open = new Set<Socket>()
  const server = createServer({ cert, key, ALPNProtocols: ['http/1.1'] }, client => {
    const behind = tlsConnect({
      port: edge,
      host: '127.0.0.1',
      servername: hostname,
      ca: caOfEdge,
      ALPNProtocols: ['http/1.1'],
    })
    open.add(client).add(behind)
    const cut = () => {
      for (const one of [client, behind]) one.destroy()
    }
    for (const one of [client, behind]) one.on('error', cut).on('close', cut)
    client.once('data', head => {
      let text = head.toString('latin1')
      if (text.includes('postern-join-1')) asked += 1
      for (const [now, later] of LATER) text = text.replace(new RegExp(now, 'i'), later)
      behind.write(Buffer.from(text, 'latin1'))
      client.pipe(behind)
    })
    behind.pipe(client)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    ca: authority.cert,
    asked: () => asked,
    async [Symbol.asyncDispose]() {
      for (const one of open) one.destroy()
      await new Promise(resolve => server.close(resolve))
    },
  }
}
