import { definePlugin, type TransportListener } from '@postern/interface'

/** Takes the upgrades to Postern's own protocol on the edge's public port, and the bare connections that follow from them. */
export default definePlugin({
  kind: 'transport',
  side: 'edge',
  name: 'tls',
  options: {},
  create: async (): Promise<TransportListener> => {
    const { mount } = await import('./mount.ts')
    return { door: 'http', leg: 'tls', mount }
  },
})
