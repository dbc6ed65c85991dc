// The client side: runs in `postern`, between a local program and the tunnel.
import { definePlugin } from '@postern/interface'
import { pump } from '@postern/pump'

export default definePlugin({
  kind: 'protocol',
  side: 'client',
  name: 'echo',
  options: {
    greeting: { type: 'string', summary: 'sent first, as a line of its own' },
  },
  create: ({ greeting }) => ({
    async connect(local, call) {
      // Without --listen the local program is at the other end of stdin and stdout.
      if (!local.listener) return bridge(local.stdio)
      for await (const socket of local.listener.connections(call)) {
        bridge(socket).catch(error => call.log.warn('a connection ended badly', { error: String(error) }))
      }

      /** @param {import('node:stream').Duplex} program */
      async function bridge(program) {
        const stream = await local.open(call)
        if (greeting !== undefined) stream.write(`${greeting}\n`)
        // Both directions, half-close kept; a cut of one side cuts the other.
        const { error } = await pump(program, stream, { signal: call.signal })
        if (error) throw error
      }
    },
  }),
})
