import { definePlugin, type TransportListener } from '@postern/interface'

/** Takes every WebSocket upgrade of the edge's public port. */
export default definePlugin({
  kind: 'transport',
  side: 'edge',
  name: 'websocket',
  options: {},
  create: async (): Promise<TransportListener> => {
    const { mount } = await import('./mount.ts')
    return { door: 'http', mount }
  },
})
