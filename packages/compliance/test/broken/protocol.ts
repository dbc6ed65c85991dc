// Protocols with one fault each, and the case that must notice.
import net from 'node:net'
import type { Duplex } from 'node:stream'
import { PosternError, type Protocol, type ProtocolServer } from '@postern/interface'
import { protocolClientCases, protocolOriginCases } from '../../src/index.ts'
import type { Broken } from '../expect-failure.ts'
import { bridge } from '../good/bridge.ts'
import { connect, protocolClient, protocolOrigin, serve } from '../good/protocol.ts'

type Bridge = typeof bridge

/** The reference bridge, with what happens at an end, at an error or at a chunk replaced. */
function worseBridge(faults: {
  readonly onEnd?: (to: Duplex, from: Duplex) => void
  readonly onError?: (to: Duplex) => void
  readonly onData?: (to: Duplex, chunk: Buffer) => void
}): Bridge {
  return (one, other, signal) =>
    new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true })
      let open = 2
      const close = (): void => {
        if (--open === 0) resolve()
      }
      for (const [from, to] of [
        [one, other],
        [other, one],
      ] as const) {
        from.on('error', () => (faults.onError ?? (it => it.destroy(new Error('cut'))))(to))
        from.on('end', () => (faults.onEnd ?? (it => it.end()))(to, from))
        from.on('close', close)
        if (faults.onData) from.on('data', chunk => faults.onData?.(to, chunk))
        else from.pipe(to, { end: false })
      }
    })
}

const endsOnHalfClose = worseBridge({
  onEnd: (to, from) => {
    to.end()
    from.end()
  },
})
const takesCutForEnd = worseBridge({ onError: to => to.end() })
/** Looks right, and on TCP is a FIN. */
const destroysTcp = worseBridge({ onError: to => to.destroy(new Error('cut')) })
const takesWithoutLimit = worseBridge({ onData: (to, chunk) => to.write(chunk) })

type Fault<T> = readonly [fault: string, worse: T, fails: string, saying: RegExp]

const CLIENTS: readonly Fault<Protocol['connect']>[] = [
  [
    'ends on half-close',
    (local, call) => connect(local, call, endsOnHalfClose),
    'listener: half-close by the local program, then receive',
    /must stay open|clean/,
  ],
  [
    'takes a cut for an end',
    (local, call) => connect(local, call, takesCutForEnd),
    'stdio: a cut stream is never a clean end for the local program',
    /saw end/,
  ],
  [
    'destroys a TCP socket without a reset',
    (local, call) => connect(local, call, destroysTcp),
    'listener: a cut stream is never a clean end for the local program',
    /saw end/,
  ],
  [
    'takes a cut after a half-close for an end',
    (local, call) => connect(local, call, takesCutForEnd),
    'listener: a stream cut after the local program’s half-close is never a clean end',
    /saw end/,
  ],
  [
    'takes without limit',
    (local, call) => connect(local, call, takesWithoutLimit),
    'listener: a far end that stops reading holds the local program back',
    /swallowed/,
  ],
  [
    'dies of a refused stream',
    async (local, call) => {
      for await (const connection of local.listener?.connections(call) ?? []) {
        connection.on('error', () => {})
        await bridge(connection, await local.open(call), call.signal)
      }
    },
    'listener: a refused stream cuts that connection, is logged with its code, and the listener lives',
    /a cut must arrive/,
  ],
  [
    'serves one at a time',
    async (local, call) => {
      for await (const connection of local.listener?.connections(call) ?? []) {
        await bridge(connection, await local.open(call), call.signal)
      }
    },
    'listener: 200 connections at once',
    /a stream must be opened/,
  ],
  [
    'swallows what ended it',
    (local, call) => connect(local, call, bridge).catch(() => {}),
    'stdio: a cut stream is thrown with its reason',
    /must be thrown/,
  ],
  [
    'wraps a refusal',
    (local, call) => connect(local, call, bridge).catch(cause => Promise.reject(new Error('failed', { cause }))),
    'stdio: a refused stream is thrown as it is',
    /the very thing/,
  ],
  [
    'ignores an abort',
    (local, call) => connect(local, { ...call, signal: new AbortController().signal }, bridge),
    'stdio: abort ends it: rejects with signal.reason, and both ends are cut',
    /still not after/,
  ],
]

const ORIGINS: readonly Fault<ProtocolServer['serve']>[] = [
  [
    'accepts before it dials',
    async (offered, remote, call) => bridge(offered.accept(), await remote.dial(call), call.signal),
    'dials first, then accepts, each once',
    /nothing may be promised/,
  ],
  [
    'accepts what the service refused',
    async (offered, remote, call) => {
      const service = await remote.dial(call).catch(error => {
        offered.accept().destroy()
        throw error
      })
      return bridge(offered.accept(), service, call.signal)
    },
    'a refusal is thrown as it is, and nothing is accepted',
    /all is well/,
  ],
  [
    'wraps a refusal',
    (offered, remote, call) =>
      serve(offered, remote, call, bridge).catch(error => Promise.reject(new PosternError('INTERNAL', String(error)))),
    'a refusal is thrown as it is, and nothing is accepted',
    /the very thing/,
  ],
  [
    'dials on its own',
    async (offered, remote, call) => {
      net.connect(1, '127.0.0.1').on('error', () => {})
      return serve(offered, remote, call, bridge)
    },
    'reaches its service through remote.dial and nothing else',
    /behind the host/,
  ],
  [
    'ends on half-close',
    (offered, remote, call) => serve(offered, remote, call, endsOnHalfClose),
    'half-close by the user, then receive 10 MiB',
    /must stay open|clean/,
  ],
  [
    'takes the service’s cut for an end',
    (offered, remote, call) => serve(offered, remote, call, takesCutForEnd),
    'a cut by the service is never a clean end for the user',
    /saw end/,
  ],
  [
    'turns the user’s cut into a FIN',
    (offered, remote, call) => serve(offered, remote, call, destroysTcp),
    'a cut by the user is never a clean end for the service',
    /saw end/,
  ],
  [
    'takes without limit',
    (offered, remote, call) => serve(offered, remote, call, takesWithoutLimit),
    'a user who stops reading holds the service back',
    /swallowed/,
  ],
  [
    'forgets the service when the user has left',
    async (offered, remote, call) => {
      const service = (await remote.dial(call)).on('error', () => {})
      return bridge(offered.accept(), service, call.signal)
    },
    'when the user has left, the service’s connection is closed',
    /must be closed/,
  ],
  [
    'ignores an abort',
    (offered, remote, call) => serve(offered, remote, { ...call, signal: new AbortController().signal }, bridge),
    'abort while dialling: rejects with signal.reason, accepts nothing',
    /still not after/,
  ],
]

export const BROKEN_PROTOCOLS: readonly Broken[] = [
  ...CLIENTS.map(([fault, worse, fails, saying]) => {
    const cases = protocolClientCases({ client: protocolClient(worse) })
    return { fault: `(client side) ${fault}`, fails, saying, cases }
  }),
  ...ORIGINS.map(([fault, worse, fails, saying]) => {
    const cases = protocolOriginCases({ origin: protocolOrigin(worse) })
    return { fault: `(origin side) ${fault}`, fails, saying, cases }
  }),
]
