import type { Duplex } from 'node:stream'
import { type Call, type OfferedStream, PosternError, type RemoteSide } from '@postern/interface'
import { cut } from './cut.ts'
import { pump } from './pump.ts'

/**
 * The origin side of a protocol that only carries bytes: one stream, one connection to the service. The service is dialled
 * before the user is told yes.
 *
 * @param look may listen to both before a byte of either has been read, and sees all of them; it takes nothing, and holds nothing up
 * @throws PosternError what `remote.dial` throws; STREAM_CUT, or what either side failed with; `call.signal.reason`
 */
export async function serveService(
  offered: OfferedStream,
  remote: RemoteSide,
  call: Call,
  look: (user: Duplex, service: Duplex) => void = () => {},
): Promise<void> {
  const service = await remote.dial(call)
  try {
    call.signal.throwIfAborted()
    const user = offered.accept()
    look(user, service)
    const { error, failed } = await pump(user, service, { signal: call.signal })
    call.signal.throwIfAborted()
    if (error) throw PosternError.from(error, 'STREAM_CUT', { speaker: failed === 'b' ? 'service' : 'daemon' })
  } catch (error) {
    // Where the stream was never accepted, the service must not take the silence for a visitor.
    cut(service, error instanceof Error ? error : new Error('not accepted', { cause: error }))
    throw error
  }
}
