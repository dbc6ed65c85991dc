import { definePlugin, PosternError, type ProtocolServer } from '@postern/interface'
import { RULE } from './rule.ts'

/** Requests of a stream, each to the service of its ingress rule. */
export default definePlugin({
  kind: 'protocol',
  side: 'origin',
  name: 'http',
  options: {},
  rule: RULE,
  async create(_options, host): Promise<ProtocolServer> {
    const { RequestServer } = await import('./server.ts')
    const server = new RequestServer(host)
    return {
      // Bytes would pass by the rules of paths, and by whoever must be named in a request.
      serve: () =>
        Promise.reject(
          new PosternError('DESTINATION_FORBIDDEN', 'HTTP is served request by request, not as bytes', {
            speaker: 'daemon',
          }),
        ),
      serveRequests: (offered, requests, call) => server.serve(offered, requests, call),
      [Symbol.asyncDispose]: async () => server.close(),
    }
  },
})
