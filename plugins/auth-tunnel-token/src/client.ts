import { type AuthProvider, definePlugin, PosternError } from '@postern/interface'
import { readTunnelToken } from '@postern/tokens'
import { TOKEN_HEADER } from './header.ts'

/** Presents the token of a daemon's tunnel, with the daemon's own certificate where it was given one. */
export default definePlugin({
  kind: 'auth',
  side: 'client',
  name: 'tunnel-token',
  options: {
    token: {
      type: 'secret',
      summary: 'token of the tunnel',
      required: true,
      env: ['POSTERN_TUNNEL_TOKEN', 'TUNNEL_TOKEN'],
      aliases: ['tunnel-token'],
    },
    connectorCertificate: {
      type: 'secret',
      summary: 'PEM of this daemon’s certificate, which posternd login leaves in its credentials file',
    },
    connectorKey: { type: 'secret', summary: 'PEM of the key of that certificate' },
  },
  create: ({ token, connectorCertificate: cert, connectorKey: key }): AuthProvider => {
    const parts = readTunnelToken(token)
    // The value is not repeated: it may be a token with one character lost.
    if (!parts)
      throw new PosternError('OPTION_INVALID', '--token is not a tunnel token: it is one word that begins with ptt_')
    if ((cert === undefined) !== (key === undefined))
      throw new PosternError('OPTION_MISSING', '--connector-certificate and --connector-key go together')
    const tls = cert !== undefined && key !== undefined && { tls: { cert, key } }
    return {
      async authenticate({ refused }, call) {
        call.signal.throwIfAborted()
        // Without the credential that is in `refused` beside them.
        if (refused)
          throw new PosternError('AUTH_REJECTED', `the edge did not accept the token of the tunnel ${parts.tunnelId}`, {
            refusal: { status: refused.status, headers: refused.headers },
          })
        return { headers: { [TOKEN_HEADER]: token }, ...tls }
      },
    }
  },
})
