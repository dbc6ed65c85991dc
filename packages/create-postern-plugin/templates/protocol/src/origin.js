// The origin side: runs in `posternd`, beside the service.
import { definePlugin, PosternError } from '@postern/interface'
import { serveService } from '@postern/pump'
import { readPermit } from './permit.js'

export default definePlugin({
  kind: 'protocol',
  side: 'origin',
  name: 'my-plugin',
  options: {},
  create: () => ({
    async serve(offered, remote, call) {
      const { wrong } = readPermit(remote.permit)
      // The edge may not have this plugin, and then it saved whatever was written.
      if (wrong.length > 0) throw new PosternError('ACCESS_DENIED', `the rule’s permit: ${wrong[0]}`)
      // Dials the service, accepts the stream only then, and joins the two until both directions are done.
      await serveService(offered, remote, call)
    },
  }),
})
