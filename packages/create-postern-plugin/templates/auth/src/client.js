// The client side: runs in `postern`, and gets what is presented to the edge.
import { definePlugin, PosternError } from '@postern/interface'

export default definePlugin({
  kind: 'auth',
  side: 'client',
  name: 'my-plugin',
  options: {
    // Gives --key-file FILE, POSTERN_MY_PLUGIN_KEY[_FILE] and `keyFile:`; its value is taken out of every line of the log.
    key: { type: 'secret', summary: 'your key', required: true },
  },
  create: ({ key }) => {
    if (!/^[\x21-\x7e]{16,1024}$/.test(key))
      throw new PosternError('OPTION_INVALID', '--key is to be 16 to 1,024 printable characters without spaces')
    return {
      async authenticate({ refused }, call) {
        call.signal.throwIfAborted()
        // The same key would get the same answer. The credential in `refused` stays out of the error.
        if (refused)
          throw new PosternError('AUTH_REJECTED', 'the edge did not accept the key', {
            refusal: { status: refused.status, headers: refused.headers },
          })
        return { headers: { 'x-my-plugin-key': key } }
      },
    }
  },
})
