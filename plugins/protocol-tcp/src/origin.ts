import { definePlugin, PosternError, type ProtocolServer } from '@postern/interface'
import { cut, pump } from '@postern/pump'

/** One stream, one connection to the service. */
export default definePlugin({
  kind: 'protocol',
  side: 'origin',
  name: 'tcp',
  options: {},
  create: (): ProtocolServer => ({
    async serve(offered, remote, call) {
      const service = await remote.dial(call)
      try {
        call.signal.throwIfAborted()
        const { error, failed } = await pump(offered.accept(), service, { signal: call.signal })
        call.signal.throwIfAborted()
        if (error) throw PosternError.from(error, 'STREAM_CUT', { speaker: failed === 'b' ? 'service' : 'daemon' })
      } catch (error) {
        // Where the stream was never accepted, the service must not take the silence for a visitor.
        cut(service, error instanceof Error ? error : new Error('not accepted', { cause: error }))
        throw error
      }
    },
  }),
})
