import { type Call, definePlugin, type LocalSide, PosternError, type Protocol } from '@postern/interface'
import { bridge } from '@postern/pump'

/** Bytes as they are: every connection to the local port, or this process's stdin and stdout, is one stream. */
export default definePlugin({
  kind: 'protocol',
  side: 'client',
  name: 'tcp',
  options: {},
  create: (): Protocol => ({
    connect: (local, call) => (local.listener ? serveListener(local, local.listener, call) : serveStdio(local, call)),
  }),
})

/** Until the call is aborted: a refusal or a cut ends its own connection and no other. */
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

async function serveStdio(local: LocalSide, call: Call): Promise<void> {
  const { error, failed } = await bridge(local.stdio, signal => local.open({ ...call, signal }), call.signal)
  call.signal.throwIfAborted()
  // The local program is gone: the stream is cut, and there is nobody left to tell.
  if (!error || failed === 'a') return
  throw PosternError.from(error, 'STREAM_CUT')
}
