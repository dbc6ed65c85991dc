// The edge side: runs in `postern-edge`, in a thread of its own, and says who it was that presented something.
import { createHash } from 'node:crypto'
import { definePlugin, PosternError } from '@postern/interface'

export default definePlugin({
  kind: 'auth',
  side: 'edge',
  name: 'my-plugin',
  options: {
    keys: { type: 'secret', summary: 'who may come in: NAME:SHA256-OF-THE-KEY, one or many', required: true },
  },
  create: ({ keys }, { attempts }) => {
    const names = readKeys(keys)
    return {
      async verify({ headers, remoteAddress }, call) {
        call.signal.throwIfAborted()
        const [key, ...more] = headers['x-my-plugin-key'] ?? []
        if (key === undefined) return undefined // not presented: another plugin may know this request
        if (more.length > 0) throw new PosternError('BAD_USAGE', 'x-my-plugin-key was sent more than once')
        const name = names.get(hashOf(key))
        if (name !== undefined) {
          const revokeKeys = [`my-plugin:${name}`]
          return { identity: { kind: 'service', issuer: 'my-plugin', subject: name, claims: {}, revokeKeys } }
        }
        // Who knows a key was let in above, so that nobody is locked out by the guesses of others.
        if (!(await attempts.allow(remoteAddress))) throw new PosternError('RATE_LIMITED', 'too many keys were wrong')
        await attempts.failed(remoteAddress)
        throw new PosternError('AUTH_REJECTED', 'the key is not known')
      },
    }
  },
})

/** @param {string} key */
function hashOf(key) {
  return createHash('sha256').update(key).digest('hex')
}

/** @param {string} text @returns {ReadonlyMap<string, string>} names by the hash of their key */
function readKeys(text) {
  const pairs = text.split(/\s+/).filter(pair => pair !== '')
  return new Map(
    pairs.map((pair, index) => {
      const [, name, hash] = /^([\w.@-]{1,64}):([0-9a-f]{64})$/.exec(pair) ?? []
      if (name === undefined || hash === undefined)
        throw new PosternError('OPTION_INVALID', `word ${index + 1} of --keys is not NAME:SHA256`)
      return [hash, name]
    }),
  )
}
