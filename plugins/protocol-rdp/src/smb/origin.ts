import { definePlugin, type ProtocolServer } from '@postern/interface'
import { serveService } from '@postern/pump'

/** One stream, one connection to the service. */
export default definePlugin({
  kind: 'protocol',
  side: 'origin',
  name: 'smb',
  options: {},
  create: (): ProtocolServer => ({ serve: serveService }),
})
