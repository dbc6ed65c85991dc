import { definePlugin, type Transport } from '@postern/interface'

/** One gRPC call over HTTP/2 to the edge. */
export default definePlugin({
  kind: 'transport',
  side: 'client',
  name: 'grpc',
  options: {},
  create: async (): Promise<Transport> => {
    // Only who dials pays for node:http2.
    const { dial } = await import('./dial.ts')
    return { dial }
  },
})
