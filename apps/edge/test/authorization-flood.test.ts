import { describe, expect, test } from 'vitest'
import { Passing } from '../src/authorization-server/passing.ts'
import { FORM } from './authorization-browser.ts'
import { begin, startAuthorization } from './authorization-world.ts'

describe('row 133: a flood of sign-ins', () => {
  test('is bounded in memory: the oldest goes first', async () => {
    const kept = new Passing({ mostBytes: 10_000 })
    for (let n = 0; n < 1000; n += 1) await kept.upsert(`${n}`, { userCode: `code-${n}`, uid: 'x'.repeat(80) }, 600)
    expect(kept.bytes).toBeLessThanOrEqual(10_000)
    expect(kept.size).toBeGreaterThan(50)
    expect(await kept.find('0')).toBeUndefined()
    expect(await kept.findByUserCode('code-0')).toBeUndefined()
    expect(await kept.findByUserCode('code-999')).toMatchObject({ userCode: 'code-999' })
  })

  test('what is over is gone, what is not is there', async () => {
    let now = 0
    const kept = new Passing({ now: () => now })
    await kept.upsert('a', { uid: 'a' }, 60)
    now = 59_000
    expect(await kept.find('a')).toMatchObject({ uid: 'a' })
    now = 60_000
    expect(await kept.find('a')).toBeUndefined()
    await kept.upsert('b', { uid: 'b' }, 60)
    expect(kept.size).toBe(1)
  })

  test('what one holds, another cannot change', async () => {
    const kept = new Passing()
    const payload = { params: { state: 'a' } }
    await kept.upsert('a', payload, 60)
    payload.params.state = 'b'
    const found = await kept.find('a')
    expect(found?.params).toEqual({ state: 'a' })
  })

  test('from one address is slowed, for programs and browsers alike', async () => {
    await using world = await startAuthorization()
    const browser = await world.browser()
    const { url } = await begin(world)
    const codes = new Set<number>()
    for (let n = 0; n < 121; n += 1) codes.add((await browser.get(url.href)).status)
    expect(codes).toEqual(new Set([303, 429]))
    const body = 'client_id=postern&scope=postern'
    const device = await world.send('POST', '/oauth/device_authorization', { headers: FORM, body })
    expect(device).toMatchObject({ status: 429, headers: { 'retry-after': '60' } })
    expect(JSON.parse(device.body)).toMatchObject({ error: 'temporarily_unavailable' })
  })
})

describe('what is no request of ours', () => {
  test.each([
    ['JSON', { 'content-type': 'application/json' }, '{"grant_type":"refresh_token"}'],
    ['too much', { 'content-type': 'application/x-www-form-urlencoded' }, `grant_type=${'x'.repeat(70_000)}`],
    ['nothing', {}, ''],
  ])('%s is refused, as JSON, and says nothing of the inside', async (_what, headers, body) => {
    await using world = await startAuthorization()
    const answer = await world.send('POST', '/oauth/token', { headers, body })
    expect(answer.status).toBe(400)
    expect(answer.headers['content-type']).toMatch(/^application\/json/)
    expect(Object.keys(JSON.parse(answer.body)).sort()).toEqual(['error', 'error_description'])
    expect(world.logged).toEqual([])
  })

  test('what goes wrong inside is for the log alone', async () => {
    await using world = await startAuthorization()
    const browser = await world.browser()
    const keep = world.store.keep.bind(world.store)
    world.store.keep = () => Promise.reject(new Error('the disk is on fire'))
    const { url } = await begin(world)
    const page = await browser.get((await browser.get(url.href)).headers.location ?? '')
    const answer = await browser.submit(page, (/action="([^"]+)"/.exec(page.body) ?? [])[1] ?? '', { answer: 'yes' })
    world.store.keep = keep
    expect(answer.status).toBe(500)
    expect(answer.body).not.toContain('fire')
    expect(world.logged.join()).toContain('fire')
  })
})
