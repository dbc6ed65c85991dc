import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { expect, test } from 'vitest'
import { header, startWorld, type World } from './world.ts'

const patience = () => ({ signal: AbortSignal.timeout(30_000), log: console })
const codeOf = (stream: Duplex) =>
  new Promise<string>(resolve => {
    stream.on('error', (error: { code?: string }) => resolve(String(error.code)))
    stream.on('end', () => resolve('end'))
    stream.resume()
  })

/** Streams that echo, in sessions of a hundred. */
async function openStreams(world: World, count: number): Promise<Duplex[]> {
  const streams: Duplex[] = []
  while (streams.length < count) {
    const session = await world.session()
    streams.push(...(await Promise.all(Array.from({ length: 100 }, () => session.open(header(), patience())))))
  }
  return streams
}

test('row 98: a thousand open streams are all cut within five seconds of the revocation, and say why', {
  timeout: 60_000,
}, async () => {
  await using world = await startWorld({}, [], 2)
  const streams = await openStreams(world, 1000)
  const ends = streams.map(codeOf)
  for (const stream of streams) stream.write('x')
  const started = performance.now()
  await world.edge.administration.call('service-token.revoke', { params: { token: world.token.id } })
  expect(new Set(await Promise.all(ends))).toEqual(new Set(['ACCESS_ENDED']))
  expect(performance.now() - started).toBeLessThan(5000)
  expect(world.edge.counts().admitted).toBe(2)
})

test('a thousand changes while five hundred streams are open: bytes go on between any two', {
  timeout: 60_000,
}, async () => {
  await using world = await startWorld({}, [], 2)
  const { administration } = world.edge
  const include = Array.from({ length: 999 }, () => ({ serviceToken: world.token.id }))
  const rules = [{ name: 'many', action: 'allow' as const, include }]
  await administration.call('policy.put', { params: { hostname: 'db.localhost' }, body: { rules } })
  const streams = await openStreams(world, 500)
  const [probe] = streams
  if (probe === undefined) throw new Error('no stream')
  let done = false
  const changes = Promise.all(
    Array.from({ length: 1000 }, (_, n) => administration.call('tunnel.create', { body: { name: `t${n}` } })),
  ).then(() => (done = true))
  let echoes = 0
  while (!done) {
    const echoed = once(probe, 'data', { signal: AbortSignal.timeout(10_000) })
    probe.write('x')
    await echoed
    echoes += 1
  }
  await changes
  expect(echoes).toBeGreaterThan(20)
  expect(streams.filter(stream => stream.destroyed)).toEqual([])
  expect((await administration.call('tunnel.list', {})).length).toBe(1001)
})
