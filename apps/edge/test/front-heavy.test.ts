import { afterAll, beforeAll, expect, test } from 'vitest'
import { ask, authorityOf, type Pair, type TestAuthority } from './certificate-world.ts'
import { type FrontWorld, startFront } from './front-world.ts'

let ca: TestAuthority
let good: Pair
let world: FrontWorld
beforeAll(async () => {
  ca = await authorityOf('team')
  good = await ca.issue('ann')
  world = await startFront({ rules: new Map([['app.localhost', ca.rule]]) })
})
afterAll(() => world[Symbol.asyncDispose]())

const answerTo = (pair: Pair, host = 'app.localhost') =>
  ask(world.port, host, pair).then(
    ({ status }) => status || 'none',
    () => 'none',
  )

test('row 91: who sends tens of kilobytes of certificates has a share of it; others, and other hostnames, are served', async () => {
  // OpenSSL verifies all that is sent before anybody may look at it. Of others' CAs, as many as go into 100 KB.
  const others = await Promise.all(Array.from({ length: 80 }, (_, index) => authorityOf(`other ${index}`)))
  const heavy = { ...good, cert: good.cert + others.map(({ cert }) => cert).join('') }
  expect(heavy.cert.length).toBeGreaterThan(40_000)
  expect(await answerTo(good)).toBe(200)
  const answers: unknown[] = []
  for (let times = 0; times < 8; times += 1) answers.push(await answerTo(heavy))
  expect(answers.slice(-2)).toEqual(['none', 'none'])
  expect(await answerTo(good)).toBe('none')
  expect(await answerTo(good, 'edge.localhost')).toBe(200)
})

test('ten certificates of an ordinary chain are nothing heavy', async () => {
  await using other = await startFront({ rules: new Map([['app.localhost', ca.rule]]) })
  const long = { ...good, cert: good.cert + ca.cert.repeat(10) }
  for (let times = 0; times < 8; times += 1) expect((await ask(other.port, 'app.localhost', long)).status).toBe(200)
})
