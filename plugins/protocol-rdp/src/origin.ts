import { definePlugin, type ProtocolServer } from '@postern/interface'
import { serveService } from '@postern/pump'
import { watchNegotiation } from './watch.ts'

/** One stream, one connection to the service. How the two came to terms is noted; from then on it is TLS between them. */
export default definePlugin({
  kind: 'protocol',
  side: 'origin',
  name: 'rdp',
  options: {},
  create: (): ProtocolServer => ({
    serve: (offered, remote, call) =>
      serveService(offered, remote, call, (client, server) =>
        watchNegotiation(client, server, negotiated =>
          remote.audit({ action: 'rdp.negotiate', allowed: true, detail: { ...negotiated } }),
        ),
      ),
  }),
})
