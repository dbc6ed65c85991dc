import { definePlugin, type Transport } from '@postern/interface'

/** One WebSocket over HTTP/1.1 to the edge. */
export default definePlugin({
  kind: 'transport',
  side: 'client',
  name: 'websocket',
  options: {},
  create: async (): Promise<Transport> => {
    // ws costs 30 ms of a start: only who dials pays it.
    const { dial } = await import('./dial.ts')
    return { dial }
  },
})
