// A program of its own, since what it looks for ends a process: TLS on a socket is cut at one moment, again and again.
// It prints what the other end saw, and how many of its own sockets were left.
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises'
import { type TLSSocket, connect as tlsConnect, createServer as tlsServer } from 'node:tls'
import { cut } from '../src/cut.ts'

/** Without certificates, which nothing here could make. */
const PSK = { ciphers: 'PSK-AES128-GCM-SHA256', maxVersion: 'TLSv1.2' } as const
const key = Buffer.alloc(16, 1)

const MOMENTS: Readonly<Record<string, (tls: TLSSocket) => unknown>> = {
  handshake: tls => cut(tls),
  idle: async tls => {
    await once(tls, 'secureConnect')
    cut(tls, new Error('why'))
  },
  twice: async tls => {
    await once(tls, 'secureConnect')
    cut(tls)
    cut(tls)
  },
  writing: async tls => {
    await once(tls, 'secureConnect')
    tls.write(Buffer.alloc(4_000_000))
    cut(tls)
  },
  reading: async tls => {
    tls.write('more')
    await once(tls, 'data')
    cut(tls)
  },
  ending: async tls => {
    await once(tls, 'secureConnect')
    tls.write('last')
    tls.end()
    cut(tls)
  },
  ended: async tls => {
    await once(tls, 'secureConnect')
    tls.end()
    await turn()
    cut(tls)
  },
  'below it was cut': async tls => {
    await once(tls, 'secureConnect')
    const { _parent: under } = tls as unknown as { readonly _parent: Socket }
    cut(under)
    cut(tls)
  },
}

const server = tlsServer({ ...PSK, pskCallback: () => key, allowHalfOpen: true }, tls => {
  tls.on('error', () => {})
  tls.on('data', () => tls.write(Buffer.alloc(200_000)))
  tls.on('end', () => tls.end())
})
server.on('tlsClientError', () => {}).listen(0, '127.0.0.1')
await once(server, 'listening')
/** In front of the server, where TCP is seen as it is. */
const seen = new Map<string, number>()
const door = createServer({ allowHalfOpen: true }, raw => {
  const behind = connect((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => {})
  let how = 'open'
  raw.on('end', () => (how = 'end')).on('error', (error: NodeJS.ErrnoException) => (how = error.code ?? how))
  raw.once('close', () => {
    seen.set(how, (seen.get(how) ?? 0) + 1)
    behind.destroy()
  })
  raw.pipe(behind).pipe(raw)
})
door.listen(0, '127.0.0.1')
await once(door, 'listening')
const { port } = door.address() as AddressInfo
const moment = MOMENTS[process.argv[2] ?? '']
let left = 0
for (let round = 0; round < 40; round++) {
  const raw = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  await once(raw, 'connect')
  left += 1
  raw.on('error', () => {}).once('close', () => (left -= 1))
  const pskCallback = () => ({ psk: key, identity: 'any' })
  const tls = tlsConnect({ socket: raw, ...PSK, pskCallback, checkServerIdentity: () => undefined })
  tls.on('error', () => {})
  const closed = new Promise(resolve => tls.resume().once('close', resolve))
  await moment?.(tls)
  await closed
}
await delay(200)
process.stdout.write(JSON.stringify({ left, seen: Object.fromEntries(seen) }))
process.exit()
