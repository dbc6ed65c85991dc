import { definePlugin, type TransportListener } from '@postern/interface'

/** Takes the calls of our own gRPC service on the edge's public port. */
export default definePlugin({
  kind: 'transport',
  side: 'edge',
  name: 'grpc',
  options: {},
  create: async (): Promise<TransportListener> => {
    const { mount } = await import('./mount.ts')
    return { door: 'http', mount }
  },
})
