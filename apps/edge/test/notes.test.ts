// What the protocols of streams saw, as daemons tell it.
import { PosternError } from '@postern/interface'
import { afterEach, expect, test } from 'vitest'
import type { AccessAdmission } from '../src/authorize/authorize.ts'
import { Hops } from '../src/ways/hops.ts'
import { startJoinWorld } from './join-world.ts'
import { call, echo, header, startWorld } from './world.ts'

const NOTE = {
  type: 'note',
  service: 'rdp',
  action: 'rdp.negotiate',
  allowed: true,
  detail: { selected: 'tls' },
} as const
const FACTS = { said: 'daemon', service: 'rdp', saw: 'rdp.negotiate', facts: { selected: 'tls' } }

const worlds: AsyncDisposable[] = []
afterEach(async () => {
  for (const world of worlds.splice(0)) await world[Symbol.asyncDispose]()
})
const keep = <W extends AsyncDisposable>(world: W): W => {
  worlds.push(world)
  return world
}

test('hop: of the tunnel’s own streams, as long as they are open and a while after; of others’ and of none they are not', async () => {
  const world = keep(await startWorld({}, [], 0))
  const { administration, store } = world.edge
  const rows = async () => store.readAudit({ most: 50, action: 'stream.note' })
  const daemon = await world.daemon(echo)
  await administration.call('tunnel.create', { body: { name: 'other' } })
  const { token } = await administration.call('tunnel-token.create', { params: { name: 'other' }, body: {} })
  const stranger = await world.daemon(echo, { 'postern-tunnel-token': token })
  const session = await world.session()
  const stream = await session.open(header(), call)
  const sid = world.streams[0]?.header.requestId ?? ''
  expect(sid).not.toBe('')
  stranger.tell({ ...NOTE, sid })
  daemon.tell({ ...NOTE, sid: 'unknown' })
  await Promise.all([stranger.ping(call), daemon.ping(call)])
  daemon.tell({ ...NOTE, sid, allowed: false })
  await expect.poll(async () => (await rows()).length).toBe(1)
  const [row] = await rows()
  expect(row).toMatchObject({
    hostname: 'db.localhost',
    requestId: sid,
    allowed: false,
    detail: { mode: 'hop', ...FACTS },
  })
  expect(row?.actor).toContain(world.token.id)
  stream.destroy(new PosternError('STREAM_CUT', 'gone'))
  await session.close()
  daemon.tell({ ...NOTE, sid })
  await expect.poll(async () => (await rows()).length).toBe(2)
})

test('end to end: of the daemon’s own sessions, and of no other’s', async () => {
  const joins = keep(await startJoinWorld())
  const [mine, other] = [await joins.enrol(), await joins.enrol()]
  const told = Promise.withResolvers<string>()
  const daemon = await joins.daemon(mine, ({ leg }, { ticket, requestId }) => {
    told.resolve(requestId)
    void leg(ticket).then(pipe => pipe.on('error', () => {}).pipe(pipe))
  })
  await joins.client()
  const sid = await told.promise
  const sibling = await joins.daemon(other)
  sibling.tunnel.tell({ ...NOTE, sid })
  await sibling.tunnel.ping(call)
  daemon.tunnel.tell({ ...NOTE, sid })
  await expect.poll(async () => (await joins.rows('stream.note')).length).toBe(1)
  const [row] = await joins.rows('stream.note')
  expect(row).toMatchObject({ requestId: sid, allowed: true, detail: { mode: 'end-to-end', ...FACTS } })
})

test('whose streams they are is known for a minute after the last of them, and of 1,024 at most', () => {
  let now = 0
  const hops = new Hops(() => now)
  const admission = (requestId: string) =>
    ({ requestId, application: { tunnelId: 'home' } }) as unknown as AccessAdmission
  const ends = [hops.begin(admission('a')), hops.begin(admission('a'))]
  for (const end of ends) {
    expect(hops.noted('a', 'home')).toBeDefined()
    expect(hops.noted('a', 'other')).toBeUndefined()
    end()
  }
  now = 59_999
  expect(hops.noted('a', 'home')).toBeDefined()
  now = 60_001
  expect(hops.noted('a', 'home')).toBeUndefined()
  hops.begin(admission('b'))()
  expect(hops.noted('b', 'home')).toBeDefined()
  for (let n = 0; n < 1024; n += 1) hops.begin(admission(`c${n}`))()
  expect(hops.noted('b', 'home')).toBeUndefined()
  expect(hops.noted('c1023', 'home')).toBeDefined()
})
