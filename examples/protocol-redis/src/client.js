// The client side: runs in `postern`. Whoever connects to the local port gets a connection through the tunnel, byte for byte.
import { definePlugin } from '@postern/interface'
import { serveLocal } from '@postern/pump'

export default definePlugin({
  kind: 'protocol',
  side: 'client',
  name: 'redis',
  options: {},
  create: () => ({
    connect: serveLocal,
  }),
})
