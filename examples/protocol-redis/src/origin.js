// The origin side: runs in `posternd`, beside Redis. What a rule permits is enforced here, whatever the edge let through, and also
// where the edge cannot read a byte.
import { once } from 'node:events'
import { pipeline } from 'node:stream/promises'
import { definePlugin, PosternError } from '@postern/interface'
import { serveService } from '@postern/pump'
import { readPermit } from './permit.js'
import { Replies } from './replies.js'
import { readCommands } from './requests.js'

export default definePlugin({
  kind: 'protocol',
  side: 'origin',
  name: 'redis',
  options: {
    largestCommand: { type: 'number', summary: 'bytes of one command, where commands are limited', default: 1_048_576 },
  },
  create: ({ largestCommand }) => ({
    async serve(offered, remote, call) {
      const { commands, wrong } = readPermit(remote.permit)
      // The edge may not have this plugin, and then it saved whatever was written.
      if (wrong.length > 0) throw new PosternError('ACCESS_DENIED', `the rule’s permit: ${wrong[0]}`)
      if (commands === undefined) return serveService(offered, remote, call)
      // Dial before accept: what is thrown until then reaches the user as a refusal with its code.
      const redis = await remote.dial(call)
      await limit(offered.accept(), redis, {
        commands,
        largest: largestCommand,
        denied: command => remote.audit({ action: 'redis.denied', allowed: false, detail: { command } }),
        signal: call.signal,
      })
    },
  }),
})

/**
 * Passes on the commands that are permitted, and answers the others itself. Redis answers in the order it was asked, so a client
 * that sends many commands at once must get the answer to a denied one in its turn, too.
 *
 * @param {import('node:stream').Duplex} user
 * @param {import('node:stream').Duplex} redis
 * @param {{ commands: ReadonlySet<string>, largest: number, denied: (command: string) => void, signal: AbortSignal }} how
 */
async function limit(user, redis, { commands, largest, denied, signal }) {
  const replies = new Replies()
  let asked = 0
  let isOver = false
  let wake = () => {}

  /** Until Redis has answered everything that it was asked. */
  async function ourTurn() {
    while (replies.count < asked && !isOver)
      await new Promise(resolve => {
        wake = () => resolve(undefined)
      })
  }

  async function* permitted() {
    for await (const { name, bytes } of readCommands(chunksOf(user), largest)) {
      if (name === '' || commands.has(name)) {
        if (name !== '') asked += 1
        yield bytes
        continue
      }
      denied(name)
      await ourTurn()
      const answer = `-NOPERM the rule that let you in does not permit '${name.toLowerCase()}'\r\n`
      if (!isOver && !user.write(answer)) await once(user, 'drain', { signal })
    }
  }

  async function* answers() {
    for await (const chunk of chunksOf(redis)) {
      yield chunk
      replies.read(chunk)
      wake()
    }
    isOver = true
    wake()
  }

  try {
    await Promise.all([pipeline(permitted, redis, { signal }), pipeline(answers, user, { signal })])
  } catch (error) {
    signal.throwIfAborted() // an abort rejects with its own reason
    throw error
  }
}

/**
 * What is read of a stream. Without the option, Node would destroy the whole stream where its one half ends, and with it what is still
 * to be written.
 *
 * @param {import('node:stream').Duplex} stream
 */
function chunksOf(stream) {
  return stream.iterator({ destroyOnReturn: false })
}
