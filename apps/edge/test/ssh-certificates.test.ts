import { createSshKey, publicKeyOf } from '@postern/pki/ssh/key'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Sessions } from '../src/sign-in/sessions.ts'
import { askOwnPath } from './own-path.ts'
import { quiet, startWorld, type World } from './world.ts'

const HOST = 'db.localhost'

let world: World
let publicKey: string
beforeEach(async () => {
  world = await startWorld({}, [], 0)
  publicKey = publicKeyOf(await createSshKey('test'))
})
afterEach(() => world[Symbol.asyncDispose]())

const permit = { ssh: { principals: ['deploy'] } }
const put = (...rules: object[]) =>
  world.edge.administration.call('application.put', {
    params: { hostname: HOST },
    body: { tunnel: 'home', protocols: ['ssh'], rules },
  } as never)
const machines = () => ({ name: 'machines', action: 'service', include: [{ serviceToken: world.token.id }], permit })
const certify = (headers: Record<string, string>) =>
  askOwnPath(world.edge.port, HOST, 'ssh-certificate', { headers, body: { publicKey } })

describe('an SSH certificate', () => {
  test('row 39: is for programs: a browser’s session counts for nothing, however it is sent', async () => {
    await put(machines(), { name: 'people', action: 'allow', include: [{ everyone: true }], permit })
    const who = { issuer: 'https://idp.example.com', subject: 'ann', email: 'ann@example.com', claims: {} }
    await using sessions = new Sessions(world.edge.store, quiet)
    const { session } = await sessions.open(who, { via: 'browser', remoteAddress: '127.0.0.1', requestId: 'r' })
    const application = world.edge.store.snapshot.applications.get(HOST)
    if (application === undefined) throw new Error('no application')
    const cookie = `__Host-postern-session=${await sessions.admit(session, application, { actor: 'test' })}`
    expect((await certify({ cookie })).status).toBe(401)
    expect((await certify({ cookie, ...world.headers() })).status).toBe(200)
    expect((await certify({ ...world.headers(), origin: `https://${HOST}` })).status).toBe(403)
  })

  test('is nothing that a rule gives to whom it does not look at', async () => {
    const bypass = { name: 'open', action: 'bypass', include: [{ address: ['0.0.0.0/0', '::/0'] }] }
    await put(bypass)
    expect((await certify({})).status).toBe(401)
    expect((await certify(world.headers())).status).toBe(403)
    await put(bypass, machines())
    expect((await certify(world.headers())).status).toBe(200)
  })

  test('needs an audit log: its row is on disk before it is given', async () => {
    await put(machines())
    const { text } = await certify(world.headers())
    const [row] = await world.edge.store.readAudit({ most: 1, action: 'ssh-certificate.issue' })
    expect(row).toMatchObject({ hostname: HOST, actor: `postern:service-token ${world.token.id}` })
    expect(JSON.stringify(row)).not.toContain(JSON.parse(text).certificate.split(' ')[1])
    // The disk fails while it is written.
    const { store } = world.edge
    Object.defineProperty(store, 'flush', { value: async () => false, configurable: true })
    const none = await certify(world.headers())
    expect([none.status, JSON.parse(none.text).code]).toEqual([503, 'AUDIT_UNAVAILABLE'])
    expect(none.text).not.toContain('-cert-v01@openssh.com')
    Reflect.deleteProperty(store, 'flush')
    expect((await certify(world.headers())).status).toBe(200)
  })
})
