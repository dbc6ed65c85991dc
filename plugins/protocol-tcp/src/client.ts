import { definePlugin, type Protocol } from '@postern/interface'
import { serveLocal } from '@postern/pump'

/** Bytes as they are. */
export default definePlugin({
  kind: 'protocol',
  side: 'client',
  name: 'tcp',
  options: {},
  create: (): Protocol => ({ connect: serveLocal }),
})
