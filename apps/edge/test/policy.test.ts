import type { Input } from '@postern/admin'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startWorld, type World } from './world.ts'

type Rules = Input<'policy.put'>['body']['rules']

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world[Symbol.asyncDispose]())

const put = (rules: Rules) =>
  world.edge.administration.call('policy.put', { params: { hostname: 'db.localhost' }, body: { rules } })
const HERE = ['127.0.0.1', '::1']
const ELSEWHERE = ['192.0.2.0/24', '2001:db8::/32']
const any: Rules[number] = { name: 'any', action: 'allow', include: [{ anyServiceToken: true }] }
describe('rules about addresses', () => {
  test('decide by the address of the socket, and cut whom they do not let in any more', async () => {
    await put([{ ...any, require: [{ address: HERE }] }])
    const session = await world.session()
    await put([{ ...any, require: [{ address: [...HERE, ...ELSEWHERE] }] }])
    await put([{ ...any, exclude: [{ address: HERE }] }])
    expect(await session.closed).toMatchObject({ code: 'ACCESS_ENDED' })
    await expect(world.session()).rejects.toMatchObject({ code: 'ACCESS_DENIED' })
    await put([any, { name: 'not from here', action: 'deny', include: [{ address: HERE }] }])
    await expect(world.session()).rejects.toMatchObject({ code: 'ACCESS_DENIED' })
    await put([any, { name: 'not from there', action: 'deny', include: [{ address: ELSEWHERE }] }])
    await (await world.session()).close()
  })
})

describe('rules about requests', () => {
  const stranger = async (path: string, method = 'GET') =>
    (await world.ask(`${method} ${path} HTTP/1.1\r\nHost: db.localhost\r\n\r\n`)).status
  const known = async (path: string) => {
    const lines = Object.entries(world.headers()).map(([name, value]) => `${name}: ${value}\r\n`)
    return (await world.ask(`GET ${path} HTTP/1.1\r\nHost: db.localhost\r\n${lines.join('')}\r\n`)).status
  }
  const DECIDED_YES = 426 // nothing is served over HTTP yet: who is let in is told how to come instead

  test('bypass for a stranger what they match, and nothing else; never a session', async () => {
    const bypass: Rules[number] = { name: 'health', action: 'bypass', include: [{ path: ['/health'] }] }
    await put([{ ...bypass, require: [{ method: ['GET'] }] }, any])
    expect(await stranger('/health?x=/other')).toBe(DECIDED_YES)
    expect(await stranger('/health/deep')).toBe(DECIDED_YES)
    expect(await stranger('/health', 'POST')).toBe(401)
    for (const path of ['/', '/other', '/?/health', '/health;x']) expect(await stranger(path), path).toBe(401)
    // What has more than one reading is decided by nobody.
    for (const path of ['/health/../other', '//health', '/health%2f']) expect(await stranger(path), path).toBe(400)
    await put([{ name: 'all', action: 'bypass', include: [{ path: ['/'] }, { method: ['GET'] }, { address: HERE }] }])
    expect(await stranger('/')).toBe(DECIDED_YES)
    await expect(world.session({})).rejects.toMatchObject({ code: 'LOGIN_REQUIRED' })
    await expect(world.session()).rejects.toMatchObject({ code: 'ACCESS_DENIED' })
    expect(world.opened()).toBe(0)
  })

  test('deny by path a request, and access to the protocol too: nobody knows what is asked for there', async () => {
    const closed: Rules[number] = { name: 'closed', action: 'deny', include: [{ path: ['/admin'] }] }
    await put([any, closed])
    expect(await known('/')).toBe(DECIDED_YES)
    for (const path of ['/admin', '/admin/x', '/%61dmin', '/admin;x']) expect(await known(path), path).toBe(403)
    for (const path of ['/x/../admin', '//admin']) expect(await known(path), path).toBe(400)
    await expect(world.session()).rejects.toMatchObject({ code: 'ACCESS_DENIED' })
    await put([any])
    await (await world.session()).close()
  })

  test('for services let in a service token; those about people do not', async () => {
    await put([{ ...any, action: 'service', permit: { x: 1 } }])
    await (await world.session()).close()
    await put([{ name: 'people', action: 'allow', include: [{ everyone: true }, { emailDomain: 'example.com' }] }])
    await expect(world.session()).rejects.toMatchObject({ code: 'ACCESS_DENIED' })
  })
})
