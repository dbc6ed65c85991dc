// The reference protocol: bytes as they are.
import type { Duplex } from 'node:stream'
import {
  type Call,
  definePlugin,
  type LocalSide,
  type OfferedStream,
  type Plugin,
  PosternError,
  type Protocol,
  type ProtocolServer,
  type RemoteSide,
} from '@postern/interface'
import { bridge, cut } from './bridge.ts'

export const client = protocolClient((local, call) => connect(local, call, bridge))
export const origin = protocolOrigin((offered, remote, call) => serve(offered, remote, call, bridge))

export function protocolClient(connect: Protocol['connect']): Plugin<'protocol', 'client', Record<never, never>> {
  return definePlugin({ kind: 'protocol', side: 'client', name: 'reference', options: {}, create: () => ({ connect }) })
}

export function protocolOrigin(serve: ProtocolServer['serve']): Plugin<'protocol', 'origin', Record<never, never>> {
  return definePlugin({ kind: 'protocol', side: 'origin', name: 'reference', options: {}, create: () => ({ serve }) })
}

export async function connect(local: LocalSide, call: Call, join: typeof bridge): Promise<void> {
  call.signal.throwIfAborted()
  if (!local.listener) return join(local.stdio, await open(local, local.stdio, call), call.signal)
  for await (const connection of local.listener.connections(call)) {
    connection.on('error', () => {})
    const serving = open(local, connection, call).then(stream => join(connection, stream, call.signal))
    serving.catch(error => call.log.warn('a connection ended', { code: PosternError.from(error).code }))
  }
  throw call.signal.reason
}

/** Opens the stream while the local program may leave, and cuts the local program when there is none. */
async function open(local: LocalSide, visitor: Duplex, call: Call): Promise<Duplex> {
  try {
    return await local.open(call)
  } catch (error) {
    cut(visitor, error as Error)
    throw error
  }
}

export async function serve(
  offered: OfferedStream,
  remote: RemoteSide,
  call: Call,
  join: typeof bridge,
): Promise<void> {
  call.signal.throwIfAborted()
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  aborted.catch(() => {})
  const abort = (): void => reject(call.signal.reason)
  call.signal.addEventListener('abort', abort, { once: true })
  const dialling = remote.dial(call)
  try {
    await join(await accepted(offered, await Promise.race([dialling, aborted])), await dialling, call.signal)
  } catch (error) {
    // Also a service that answers after everybody left.
    dialling.then(service => cut(service, error as Error)).catch(() => {})
    throw error
  } finally {
    call.signal.removeEventListener('abort', abort)
  }
}

/** The service may fail between its dial and the user's yes. */
async function accepted(offered: OfferedStream, service: Duplex): Promise<Duplex> {
  service.on('error', () => {})
  return offered.accept()
}
