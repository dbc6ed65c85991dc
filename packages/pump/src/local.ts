import { type Call, type LocalSide, PosternError } from '@postern/interface'
import { bridge } from './bridge.ts'

/**
 * The client side of a protocol that only carries bytes: every connection to the local port, or this process's stdin and
 * stdout, is one stream. On a port a refusal or a cut ends its own connection and no other, and is logged.
 *
 * @returns when stdin and stdout are done, or the local program is gone
 * @throws PosternError what `local.open` throws, what cut the stream, or the stdio’s own; with a listener only `call.signal.reason`
 */
export async function serveLocal(local: LocalSide, call: Call): Promise<void> {
  if (local.listener) await serveListener(local, local.listener, call)
  else await serveStdio(local, call)
}

async function serveStdio(local: LocalSide, call: Call): Promise<void> {
  const { error, failed } = await bridge(local.stdio, signal => local.open({ ...call, signal }), call.signal)
  call.signal.throwIfAborted()
  // The local program is gone: the stream is cut, and there is nobody left to tell. An error of ours says that it is not.
  if (!error || (failed === 'a' && !PosternError.is(error))) return
  throw PosternError.from(error, 'STREAM_CUT')
}

async function serveListener(
  local: LocalSide,
  listener: NonNullable<LocalSide['listener']>,
  call: Call,
): Promise<void> {
  const open = new Set<Promise<void>>()
  try {
    for await (const connection of listener.connections(call)) {
      const served = serveConnection(local, connection, call).finally(() => open.delete(served))
      open.add(served)
    }
  } finally {
    await Promise.all(open)
  }
  call.signal.throwIfAborted()
}

async function serveConnection(local: LocalSide, connection: LocalSide['stdio'], call: Call): Promise<void> {
  try {
    const { error, failed } = await bridge(connection, signal => local.open({ ...call, signal }), call.signal)
    if (error && failed === 'b') warn('a connection was cut', error, call)
  } catch (error) {
    if (!call.signal.aborted) warn('a connection was refused', error, call)
  }
}

function warn(message: string, thrown: unknown, call: Call): void {
  const { code, message: reason, next, requestId } = PosternError.from(thrown, 'STREAM_CUT')
  call.log.warn(message, { code, reason, next, requestId })
}
