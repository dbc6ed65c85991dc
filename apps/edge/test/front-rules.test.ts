import { once } from 'node:events'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ask, askOver, authorityOf, type Pair, reach, type TestAuthority } from './certificate-world.ts'
import { startWorld, type World } from './world.ts'

let world: World
let ours: TestAuthority
let ann: Pair
beforeAll(async () => {
  world = await startWorld()
  ours = await authorityOf('Ours')
  ann = await ours.issue('ann')
})
afterAll(() => world[Symbol.asyncDispose]())

const db = { params: { hostname: 'db.localhost' } }
const LOGIN_REQUIRED = { status: 401, code: 'LOGIN_REQUIRED' }

test('row 44: what is asked for follows the rules, from the next connection on, and no other is served', async () => {
  const { edge, token } = world
  const { port, administration } = edge
  const rule = (more: object) => ({
    rules: [{ name: 'r', action: 'allow', include: [{ serviceToken: token.id }, more] }],
  })
  await administration.call('ca.import', { body: { name: 'ours', certificates: ours.cert } } as never)

  const before = await reach(port, 'db.localhost', ann)
  expect(await askOver(before, 'db.localhost')).toMatchObject(LOGIN_REQUIRED)
  await administration.call('policy.put', {
    ...db,
    body: rule({ certificate: { ca: 'ours', commonName: 'bob' } }),
  } as never)
  const ended = once(before, 'close')
  expect(await askOver(before, 'db.localhost')).toMatchObject({ status: 421, code: 'MISDIRECTED_REQUEST' })
  await ended

  const during = await reach(port, 'db.localhost')
  expect(await askOver(during, 'db.localhost')).toMatchObject(LOGIN_REQUIRED)
  expect(await ask(port, 'db.localhost', {}, 'edge.localhost')).toMatchObject({ status: 421 })
  expect(await ask(port, 'edge.localhost', {}, 'db.localhost')).toMatchObject({ status: 421 })
  // It speaks of another one of the same CA: nobody need come again.
  await administration.call('policy.put', {
    ...db,
    body: rule({ certificate: { ca: 'ours', commonName: 'eve' } }),
  } as never)
  expect(await askOver(during, 'db.localhost')).toMatchObject(LOGIN_REQUIRED)

  await administration.call('policy.put', { ...db, body: rule({ email: 'ann@example.com' }) } as never)
  expect(await askOver(during, 'db.localhost')).toMatchObject({ status: 421 })
  expect(await ask(port, 'db.localhost', ann)).toMatchObject(LOGIN_REQUIRED)
  expect(world.opened()).toBe(0)
})
