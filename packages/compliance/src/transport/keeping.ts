import assert from 'node:assert/strict'
import net from 'node:net'
import { problem } from '@postern/interface'
import { reading } from '../bytes.ts'
import { type Case, testCase } from '../case.ts'
import { abortable, eventually, rejection, within } from '../expect.ts'
import { deadPort, listen, shut, track } from '../listening.ts'
import { everythingSaid, tappingOutput } from '../recording.ts'
import { leftOpen, resources } from '../resources.ts'
import { type TransportRig, type TransportSubject, withRig } from './rig.ts'

/** Secrets kept, and everything else let go. */
export function keepingCases(subject: TransportSubject): readonly Case[] {
  return [
    testCase('dispose ends everything', call =>
      withRig(subject, call, {}, async rig => {
        const { pipe, edge } = await rig.pair()
        const both = [reading(pipe), reading(edge)]
        const waiting = rejection(rig.dial(), 'a dial that waits when the edge is disposed', 10_000)
        waiting.catch(() => {})
        await rig.next()
        rig.unmount()
        await within(Promise.resolve(rig.listener[Symbol.asyncDispose]?.()), 'dispose of the edge side')
        await within(Promise.resolve(rig.transport[Symbol.asyncDispose]?.()), 'dispose of the client side')
        // Pipes belong to whom they were given; a side that disposes may end its own, one that cannot need not.
        pipe.destroy()
        edge.destroy()
        if (rig.listener[Symbol.asyncDispose] || rig.transport[Symbol.asyncDispose]) await waiting
        for (const each of both) await within(each.done, 'every pipe must end')
      }),
    ),
    testCase('dispose twice is no error', call =>
      withRig(subject, call, {}, async rig => {
        for (const side of [rig.transport, rig.listener, rig.transport, rig.listener]) {
          await within(Promise.resolve(side[Symbol.asyncDispose]?.()), 'dispose')
        }
      }),
    ),
    testCase('nothing is left open', async call => {
      // Once to warm up: what is kept for the whole process is not a leak.
      await withRig(subject, call, {}, oneOfEach)
      const before = resources()
      await withRig(subject, call, {}, async rig => {
        for (let round = 0; round < 5; round++) await oneOfEach(rig)
        await eventually(() => rig.door.connections === 0, 'every connection must be closed')
      })
      assert.deepEqual(await leftOpen(before), [], 'left open')
    }),
    testCase('secrets never reach the log, an error or the terminal', call =>
      withRig(subject, call, { tls: true }, keepsSecrets),
    ),
  ]
}

/** A good pipe, one that was cut, a refusal, and a change of mind. */
async function oneOfEach(rig: TransportRig): Promise<void> {
  const good = await rig.pair()
  const both = [reading(good.pipe), reading(good.edge)]
  good.pipe.end('one way')
  good.edge.end('and the other')
  for (const each of both) await within(each.done, 'a pipe must end')
  const cut = await rig.pair()
  const atEdge = reading(cut.edge)
  cut.pipe.destroy()
  await within(atEdge.done, 'a cut must arrive')
  const refused = rejection(rig.dial(), 'a refused dial')
  await (await rig.next()).reject(problem('ACCESS_DENIED', 'r-1'))
  await refused
  const own = abortable(rig.call)
  const aborted = rejection(rig.dial({}, own.call), 'an aborted dial')
  const gone = await rig.next()
  own.abort(new Error('changed my mind'))
  await aborted
  await within(gone.reject(problem('TIMED_OUT', 'r-2')), 'reject() for somebody who left must settle').catch(() => {})
}

const CANARY = 'canary-4f1d9c0a77e2b583'

async function keepsSecrets(rig: TransportRig): Promise<void> {
  const tls = rig.authority!.issue({ commonName: 'device-1' })
  const headers = { authorization: `Bearer ${CANARY}`, cookie: `session=${CANARY}` }
  const stranger = net.createServer(socket => {
    socket.on('error', () => {})
    // A stranger may repeat what it was told.
    socket.on('data', data => socket.end(`HTTP/1.1 400 Bad Request\r\n\r\n${data.toString('latin1')}`))
  })
  const sockets = track(stranger)
  const strangersUrl = new URL(`http://127.0.0.1:${await listen(stranger)}`)
  const dead = new URL(`http://127.0.0.1:${await deadPort()}`)
  const said: unknown[] = []
  const { text } = await tappingOutput(async () => {
    for (const credential of [
      { headers, tls },
      { headers: async () => headers, tls },
    ]) {
      const good = await rig.pair({ credential })
      good.pipe.destroy()
      const refused = rejection(rig.dial({ credential }), 'a refused dial')
      await (await rig.next()).reject(problem('AUTH_REJECTED', 'r-1'))
      said.push(await refused)
      const own = abortable(rig.call)
      const aborted = rejection(rig.dial({ credential }, own.call), 'an aborted dial')
      await rig.next()
      own.abort(new Error('changed my mind'))
      said.push(await aborted)
      for (const edge of [dead, strangersUrl]) said.push(await rejection(rig.dial({ credential, edge }), 'a bad dial'))
    }
  })
  await shut(stranger, sockets)
  const key = tls.key.split('\n')[1]!
  for (const [where, words] of [
    ['the log', rig.log.text()],
    ['the terminal', text],
    ['an error', said.map(everythingSaid).join('\n')],
  ] as const) {
    assert.ok(!words.includes(CANARY), `a credential’s header reached ${where}`)
    assert.ok(!words.includes(key), `a credential’s private key reached ${where}`)
  }
}
