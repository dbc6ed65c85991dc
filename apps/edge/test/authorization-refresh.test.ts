import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { GRACE, SignIns } from '../src/authorization-server/sign-ins.ts'
import { FORM } from './authorization-browser.ts'
import {
  type AuthorizationWorld,
  approve,
  begin,
  exchangeFor,
  refreshWith,
  signIn,
  startAuthorization,
  WIKI,
} from './authorization-world.ts'
import { quiet } from './world.ts'

let world: AuthorizationWorld
beforeAll(async () => {
  world = await startAuthorization()
})
afterAll(() => world[Symbol.asyncDispose]())
afterEach(() => {
  vi.restoreAllMocks()
})

afterEach(() => {
  if (world.logged.length) console.log(world.logged)
})
const cliSessions = () => world.sessions.list().filter(({ via }) => via === 'cli')
const good = async (token: string): Promise<string> => {
  const { status, json } = await refreshWith(world, token)
  expect(json.error).toBeUndefined()
  expect(status).toBe(200)
  return json.refresh_token ?? ''
}
const bad = async (token: string) =>
  expect(await refreshWith(world, token)).toMatchObject({ status: 400, json: { error: 'invalid_grant' } })
/** Only the clock: timers and sockets go on. */
const later = (milliseconds: number) => {
  const now = Date.now()
  vi.spyOn(Date, 'now').mockImplementation(() => now + milliseconds)
}
const revoke = (token: string) =>
  world.send('POST', '/oauth/revoke', {
    headers: FORM,
    body: new URLSearchParams({ client_id: 'postern', token }).toString(),
  })

describe('refresh', () => {
  test('gives a new token each time, of the same session', async () => {
    const before = cliSessions().length
    const { refresh } = await signIn(world)
    const second = await good(refresh)
    const third = await good(second)
    expect(new Set([refresh, second, third]).size).toBe(3)
    expect(cliSessions()).toHaveLength(before + 1)
  })

  test('the one before stays good until its successor is used: a killed process logs nobody out', async () => {
    const { refresh } = await signIn(world)
    const successor = await good(refresh) // the answer that was lost
    expect(await good(refresh)).toBe(successor)
    expect(await good(refresh)).toBe(successor)
    const next = await good(successor)
    expect(next).not.toBe(successor)
  })

  test('used after its successor was, it takes everything with it: one of the two was stolen', async () => {
    const { refresh, access } = await signIn(world)
    const successor = await good(refresh)
    const next = await good(successor)
    const before = cliSessions().length
    await bad(refresh)
    expect(cliSessions()).toHaveLength(before - 1)
    await bad(next)
    expect((await exchangeFor(world, access, WIKI)).json.error).toBe('invalid_grant')
    const [row] = await world.store.readAudit({ most: 1, action: 'session.revoke' } as never)
    expect(JSON.stringify(row)).toContain('used twice')
  })

  test('it stays good for a minute at most', async () => {
    const one = await signIn(world)
    const successor = await good(one.refresh)
    later(GRACE - 5000)
    expect(await good(one.refresh)).toBe(successor)
    vi.restoreAllMocks()
    const other = await signIn(world)
    await good(other.refresh)
    later(GRACE + 5000)
    await bad(other.refresh)
  })

  test('fifty at the same time all get the same, and nothing is revoked', async () => {
    const { refresh } = await signIn(world)
    const before = cliSessions().length
    const answers = await Promise.all(Array.from({ length: 50 }, () => refreshWith(world, refresh)))
    expect(answers.map(({ status }) => status)).toEqual(Array(50).fill(200))
    const successors = new Set(answers.map(({ json }) => json.refresh_token))
    expect(successors.size).toBe(1)
    for (const { json } of answers.slice(0, 5))
      expect(await exchangeFor(world, json.access_token ?? '', WIKI)).toMatchObject({ status: 200 })
    await good([...successors][0] ?? '')
    expect(cliSessions()).toHaveLength(before)
  })

  test('after a restart it goes on, in the grace period too', async () => {
    const { refresh } = await signIn(world)
    await good(refresh)
    using restarted = new SignIns({ store: world.store, sessions: world.sessions, log: quiet })
    const found = restarted.findToken(refresh)
    expect(found).toMatchObject({ isReused: false })
    const successor = restarted.tokenFor(found?.grantId ?? '', refresh)
    expect(await restarted.putToken(found?.grantId ?? '', successor, { ...found?.payload }, refresh)).toBe(true)
    expect(restarted.findToken(successor)).toMatchObject({ isReused: false })
  })

  test.each(['x', '~', 'x~y', `${'a'.repeat(43)}~${'b'.repeat(43)}`, '__proto__~x'])('%j is not a token', bad)

  test('the token of one sign-in with the secret of another is none, and is taken for reuse', async () => {
    const [one, other] = [await signIn(world), await signIn(world)]
    await bad(`${one.refresh.split('~')[0]}~${other.refresh.split('~')[1]}`)
    await bad(one.refresh)
    await good(other.refresh)
  })
})

describe('the end of a session', () => {
  test('revoked elsewhere: its tokens are good for nothing at once', async () => {
    const { refresh, access } = await signIn(world)
    expect((await exchangeFor(world, access, WIKI)).status).toBe(200)
    const { json } = await exchangeFor(world, access, WIKI)
    const { sid } = JSON.parse(Buffer.from(json.access_token?.split('.')[1] ?? '', 'base64url').toString())
    await world.sessions.revoke({ session: sid }, { actor: 'test' })
    expect((await exchangeFor(world, access, WIKI)).json.error).toBe('invalid_grant')
    await bad(refresh)
    const headers = { authorization: `Bearer ${access}` }
    expect((await world.send('GET', '/oauth/userinfo', { headers })).status).toBe(401)
  })

  test('revoked before the code was redeemed: the code is good for nothing', async () => {
    const { url, verifier } = await begin(world)
    const code = (await approve(await world.browser(), url)).searchParams.get('code') ?? ''
    for (const { id } of cliSessions()) await world.sessions.revoke({ session: id }, { actor: 'test' })
    const sent = { grant_type: 'authorization_code', code, code_verifier: verifier }
    const answer = await world.token({ ...sent, redirect_uri: 'http://127.0.0.1:51234/callback' })
    expect(answer).toMatchObject({ status: 400, json: { error: 'invalid_grant' } })
  })

  test('signing out ends the session and all its tokens; an unknown token is no error', async () => {
    const { refresh, access } = await signIn(world)
    const before = cliSessions().length
    expect(await revoke(refresh)).toMatchObject({ status: 200, body: '' })
    expect(cliSessions()).toHaveLength(before - 1)
    await bad(refresh)
    expect((await exchangeFor(world, access, WIKI)).json.error).toBe('invalid_grant')
    expect(await revoke('unknown')).toMatchObject({ status: 200 })
    const [row] = await world.store.readAudit({ most: 1, action: 'session.revoke' } as never)
    expect(JSON.stringify(row)).toContain('signed out')
  })

  test('what nobody fetched is ended, and rows of what is over go; the others stay', async () => {
    const { refresh } = await signIn(world)
    const { url } = await begin(world)
    await approve(await world.browser(), url)
    const gone = await signIn(world)
    await revoke(gone.refresh)
    const before = cliSessions().length
    later(16 * 60_000)
    await world.server.sweep()
    vi.restoreAllMocks()
    expect(cliSessions()).toHaveLength(before - 1)
    const rows = world.store.snapshot.records.get('oauth')?.size
    expect(rows).toBe(cliSessions().length)
    await good(refresh)
  })
})

test('a copy of the database has no token in it', async () => {
  const { refresh, access } = await signIn(world)
  const successor = await good(refresh)
  const kept = JSON.stringify([...world.store.snapshot.records].map(([namespace, rows]) => [namespace, [...rows]]))
  expect(kept).toContain('"oauth"')
  for (const token of [refresh, successor, access])
    for (const part of token.split('~')) expect(kept).not.toContain(part)
})
