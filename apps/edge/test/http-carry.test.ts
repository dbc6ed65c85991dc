import { afterAll, beforeAll, expect, test } from 'vitest'
import { type HttpWorld, startHttpWorld } from './http-world.ts'

let app: HttpWorld
beforeAll(async () => {
  app = await startHttpWorld()
})
afterAll(() => app[Symbol.asyncDispose]())

test('a request goes through', async () => {
  const got = await app.request({ path: '/a?b=c' })
  expect(got).toMatchObject({ status: 200, body: 'GET /a?b=c' })
  const posted = await app.request({ method: 'POST', path: '/p', body: 'hello' })
  expect(posted).toMatchObject({ status: 200, body: 'POST /p' })
})
