import { type AuthProvider, definePlugin, PosternError } from '@postern/interface'
import { ID_HEADER, SECRET_HEADER } from './headers.ts'

/** Presents a service token's id and secret. */
export default definePlugin({
  kind: 'auth',
  side: 'client',
  name: 'service-token',
  options: {
    id: {
      type: 'string',
      summary: 'id of the service token',
      required: true,
      env: ['POSTERN_SERVICE_TOKEN_ID', 'TUNNEL_SERVICE_TOKEN_ID'],
      aliases: ['service-token-id'],
    },
    secret: {
      type: 'secret',
      summary: 'secret of the service token',
      required: true,
      env: ['POSTERN_SERVICE_TOKEN_SECRET', 'TUNNEL_SERVICE_TOKEN_SECRET'],
      aliases: ['service-token-secret'],
    },
  },
  create: ({ id, secret }): AuthProvider => {
    checkHeader('id', id)
    checkHeader('secret', secret)
    const headers = { [ID_HEADER]: id, [SECRET_HEADER]: secret }
    return {
      async authenticate({ refused }, call) {
        call.signal.throwIfAborted()
        // The same two words would get the same answer. The credential in `refused` stays out of the error.
        if (refused)
          throw new PosternError('AUTH_REJECTED', `the edge did not accept the service token ${id}`, {
            refusal: { status: refused.status, headers: refused.headers },
          })
        return { headers }
      },
    }
  },
})

/** What a header cannot carry can be no token, and would fail later with less to say. The value is not repeated. */
function checkHeader(option: string, value: string): void {
  if (!/^[\x21-\x7e]{1,1024}$/.test(value))
    throw new PosternError(
      'OPTION_INVALID',
      `--${option} is no service token's: it must be 1 to 1,024 printable characters without spaces`,
    )
}
