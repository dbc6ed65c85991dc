import { readFileSync, statSync } from 'node:fs'
import { access, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { initialiseEdge, type RunningEdge, startEdge } from '../src/index.ts'
import { type Api, apiOf } from './admin-visitor.ts'
import { call, quiet } from './world.ts'

let folder: string
let data: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'postern-setup-'))
  data = join(folder, 'edge')
})
afterEach(() => rm(folder, { recursive: true }))

const empty = { teamDomain: 'edge.localhost' }
const start = () => startEdge({ data, listen: { port: 0 }, setupToken: true }, call)
const use = (api: Api, token: string | undefined, name = 'ann') =>
  api.team({ method: 'POST', path: '/setup', token, body: { name } })
const tokenIn = (edge: RunningEdge) => readFileSync(edge.setupTokenFile ?? '', 'utf8').trim()

/** The setup token as it would be after its time. */
async function expire(edge: RunningEdge): Promise<void> {
  const { store } = edge
  for (const [id, value] of store.snapshot.records.get('setup-token') ?? []) {
    const past = { ...(value as object), expiresAt: Date.now() - 1 }
    await store.apply([{ put: 'record', namespace: 'setup-token', id, value: past }], { action: 'test', actor: 'test' })
  }
}

describe('row 109: the first administrator', () => {
  test('of an edge without anything: a token in a file for this user alone, exchanged once', async () => {
    expect(Object.keys(await initialiseEdge({ ...empty, data }, call))).toEqual(['caFile'])
    await using edge = await start()
    const file = edge.setupTokenFile ?? ''
    expect(statSync(file).mode & 0o777).toBe(0o600)
    const api = apiOf(edge, data)
    const made = await use(api, tokenIn(edge))
    expect(made).toMatchObject({ status: 200, json: { name: 'ann', role: 'admin' } })
    const { token } = made.json as { token: string }
    expect(await api.team({ path: '/whoami', token })).toMatchObject({ json: { role: 'admin' } })
    await expect(access(file)).rejects.toMatchObject({ code: 'ENOENT' })
    const created = await api.team({ method: 'POST', path: '/tunnels', token, body: { name: 'home' } })
    expect(created.status).toBe(200)
    const [row] = await edge.store.readAudit({ most: 1, action: 'setup.use' })
    expect(row?.actor).toMatch(/^setup \(pset_/)
  })

  test('there are no default credentials, and a used token is a stranger’s', async () => {
    await initialiseEdge({ ...empty, data }, call)
    await using edge = await start()
    const api = apiOf(edge, data)
    const setup = tokenIn(edge)
    for (const token of [
      undefined,
      '',
      'admin',
      'postern',
      setup.slice(0, -1),
      `${setup}x`,
      setup.replace('psets_', 'pats_'),
    ])
      expect(await use(api, token)).toMatchObject({ status: 401 })
    expect(edge.store.snapshot.records.get('admin-token')).toBeUndefined()
    expect((await use(api, setup)).status).toBe(200)
    const again = await use(api, setup, 'bob')
    const stranger = await use(api, setup.replace(/.{43}$/, 'A'.repeat(43)), 'bob')
    expect(again).toMatchObject({ status: 401, code: 'AUTH_REJECTED' })
    const body = ({ body: text, headers }: typeof again) => text.replace(headers['postern-request-id'] ?? '', '')
    expect(body(again)).toBe(body(stranger))
    expect(edge.store.snapshot.records.get('admin-token')?.size).toBe(1)
  })

  test('of two at the same time, of twenty, one wins', async () => {
    await initialiseEdge({ ...empty, data }, call)
    await using edge = await start()
    const api = apiOf(edge, data)
    const token = tokenIn(edge)
    const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => use(api, token, `ann ${n}`)))
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
    expect(answers.filter(({ code }) => code === 'AUTH_REJECTED')).toHaveLength(19)
    expect(edge.store.snapshot.records.get('admin-token')?.size).toBe(1)
    expect(await edge.store.readAudit({ most: 100, action: 'setup.use' })).toHaveLength(1)
  })

  test('is a stranger’s as soon as there is an administrator, whoever made that one', async () => {
    await initialiseEdge({ ...empty, data }, call)
    await using edge = await start()
    const api = apiOf(edge, data)
    const { administration } = edge
    const make = (role: 'viewer' | 'admin') => administration.call('admin-token.create', { body: { name: role, role } })
    await make('viewer')
    const { id } = await make('admin')
    expect(await use(api, tokenIn(edge))).toMatchObject({ status: 401, code: 'AUTH_REJECTED' })
    await administration.call('admin-token.revoke', { params: { id } })
    expect(await use(api, tokenIn(edge))).toMatchObject({ status: 200 })
  })

  test('an expired one is a stranger’s; the next start makes another, and the old one stays dead', async () => {
    await initialiseEdge({ ...empty, data }, call)
    let old: string
    {
      await using edge = await start()
      old = tokenIn(edge)
      await expire(edge)
      expect(await use(apiOf(edge, data), old)).toMatchObject({ status: 401, code: 'AUTH_REJECTED' })
    }
    await using edge = await start()
    const fresh = tokenIn(edge)
    expect(fresh).not.toBe(old)
    expect(await use(apiOf(edge, data), old)).toMatchObject({ status: 401 })
    expect(edge.store.snapshot.records.get('setup-token')?.size).toBe(1)
    expect(await use(apiOf(edge, data), fresh)).toMatchObject({ status: 200 })
  })

  test('a restart keeps one that is good, replaces one whose file is lost, and makes none where there is an admin', async () => {
    await initialiseEdge({ ...empty, data }, call)
    const startAnd = async <T>(then: (edge: RunningEdge) => Promise<T> | T): Promise<T> => {
      await using edge = await start()
      return await then(edge)
    }
    const first = await startAnd(tokenIn)
    expect(await startAnd(tokenIn)).toBe(first)
    await rm(join(data, 'setup-token'))
    const second = await startAnd(tokenIn)
    expect(second).not.toBe(first)
    await startAnd(async edge => {
      expect(await use(apiOf(edge, data), first)).toMatchObject({ status: 401 })
      await edge.administration.call('admin-token.create', { body: { name: 'bob', role: 'viewer' } })
    })
    expect(await startAnd(tokenIn)).toBe(second) // a viewer administers nothing
    await startAnd(edge => edge.administration.call('admin-token.create', { body: { name: 'ann', role: 'admin' } }))
    await startAnd(async edge => {
      expect(edge.setupTokenFile).toBeUndefined()
      expect(await use(apiOf(edge, data), second)).toMatchObject({ status: 401 })
      await expect(access(join(data, 'setup-token'))).rejects.toMatchObject({ code: 'ENOENT' })
    })
  })

  test('without the option there is none', async () => {
    await initialiseEdge({ ...empty, data }, call)
    await using edge = await startEdge({ data, listen: { port: 0 } }, call)
    expect(edge.setupTokenFile).toBeUndefined()
    expect(edge.store.snapshot.records.get('setup-token')).toBeUndefined()
  })

  test('a link in its place is not followed', async () => {
    await initialiseEdge({ ...empty, data }, call)
    const target = join(folder, 'target')
    await writeFile(target, 'untouched')
    await symlink(target, join(data, 'setup-token'))
    await expect(start()).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
    expect(await readFile(target, 'utf8')).toBe('untouched')
    await rm(join(data, 'setup-token'))
    await using edge = await start()
    expect(tokenIn(edge)).toMatch(/^psets_/)
  })

  test('it is in no log, no audit row and not in the database', async () => {
    await initialiseEdge({ ...empty, data }, call)
    const said: string[] = []
    const say = (message: string, fields: unknown) => void said.push(message + JSON.stringify(fields))
    const log = { ...quiet, debug: say, info: say, warn: say, error: say }
    await using edge = await startEdge({ data, listen: { port: 0 }, setupToken: true }, { ...call, log })
    const token = tokenIn(edge)
    const made = await use(apiOf(edge, data), token)
    expect(said.join('\n')).not.toContain(token.slice(-43))
    expect(said.join('\n')).not.toContain((made.json as { token: string }).token.slice(-43))
    const [row] = await edge.store.readAudit({ most: 1, action: 'setup-token.create' })
    expect(JSON.stringify(row)).not.toContain(token.slice(-43))
    const database = ['edge.db', 'edge.db-wal'].map(name => readFileSync(join(data, name), 'latin1')).join('')
    expect(database).toContain(token.slice('psets_'.length, 30))
    expect(database).not.toContain(token.slice(-43))
  })

  test('who asks from the first moment on is a stranger', async () => {
    await initialiseEdge({ ...empty, data }, call)
    let port = 0
    {
      await using once = await start()
      port = once.port
    }
    const starting = startEdge({ data, listen: { port }, setupToken: true }, call)
    const over = starting.then(() => true)
    const heard = new Set<string>()
    const visitor = { port, adminSocket: join(data, 'admin.sock'), teamDomain: 'edge.localhost' } as RunningEdge
    for (let done = false; !done; done = await Promise.race([over, setTimeout(5, false)])) {
      const answer = await apiOf(visitor, data)
        .team({ path: '/admin-tokens', method: 'POST', body: { name: 'eve', role: 'admin' } })
        .catch((error: NodeJS.ErrnoException) => error)
      heard.add('status' in answer ? String(answer.status) : String(answer.code))
    }
    await using edge = await starting
    expect((await apiOf(edge, data).team({ path: '/status' })).status).toBe(401)
    heard.delete('401')
    expect([...heard]).toEqual(['ECONNREFUSED'])
    expect(edge.store.snapshot.records.get('admin-token')).toBeUndefined()
  })
})
