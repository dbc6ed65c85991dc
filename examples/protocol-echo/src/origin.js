// The origin side: runs in `posternd`. It claims the service scheme `echo:`, so an ingress rule says `--url echo://here`.
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { definePlugin } from '@postern/interface'

export default definePlugin({
  kind: 'protocol',
  side: 'origin',
  name: 'echo',
  options: {
    shout: { type: 'boolean', summary: 'answer in capitals', default: false },
  },
  create: ({ shout }) => ({
    async serve(offered, remote, call) {
      // A protocol with a service behind it would dial first, `await remote.dial(call)`, and accept only then: what is thrown
      // before accept() reaches the user as a refusal with its code.
      const stream = offered.accept()
      remote.audit({ action: 'echo', allowed: true, detail: { who: remote.identities.map(one => one.subject) } })
      try {
        await pipeline(
          stream,
          shout ? capitals() : new Transform({ transform: (chunk, _, done) => done(null, chunk) }),
          stream,
          {
            signal: call.signal,
          },
        )
      } catch (error) {
        call.signal.throwIfAborted() // an abort rejects with its own reason
        throw error
      }
    },
  }),
})

/** ASCII only, byte by byte: a letter of another alphabet may be cut in two between chunks. */
function capitals() {
  return new Transform({
    transform: (chunk, _, done) =>
      done(
        null,
        Buffer.from(chunk).map(byte => (byte >= 0x61 && byte <= 0x7a ? byte - 0x20 : byte)),
      ),
  })
}
