import { definePlugin, type Transport } from '@postern/interface'

/** TLS to the edge; for an end-to-end session, the session's own TLS through the edge. */
export default definePlugin({
  kind: 'transport',
  side: 'client',
  name: 'tls',
  options: {},
  create: async (): Promise<Transport> => {
    const { dial } = await import('./dial.ts')
    return { dial }
  },
})
