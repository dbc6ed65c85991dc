// The client side: runs in `postern`. Every connection to the local port, or stdin and stdout, is one stream through the tunnel.
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
