import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseStrictly } from '../src/admin/json.ts'
import { type AdminAsk, type Api, apiOf } from './admin-visitor.ts'
import { startWorld, type World } from './world.ts'

let world: World
let api: Api
let token: string
beforeAll(async () => {
  world = await startWorld()
  api = apiOf(world.edge, world.folder)
  token = (await world.edge.administration.call('admin-token.create', { body: { name: 'ann', role: 'admin' } })).token
})
afterAll(() => world[Symbol.asyncDispose]())

/** Refused as that, and nothing is changed. */
async function refused(ask: AdminAsk, status: number, says: string | RegExp = ''): Promise<void> {
  const { version } = world.edge.store.snapshot
  const answer = await api.team({ token, ...ask })
  expect(answer).toMatchObject({ status, headers: { 'content-type': 'application/problem+json' } })
  expect((answer.json as { detail: string }).detail).toMatch(says)
  expect(answer.body.length).toBeLessThan(1000)
  expect(world.edge.store.snapshot.version).toBe(version)
}

describe('row 106: what is sent is checked strictly', () => {
  const create = { method: 'POST', path: '/admin-tokens' }

  test('the same request without the trick is done', async () => {
    const raw = '{"name": "bob", "role": "viewer"}'
    expect(await api.team({ ...create, token, raw })).toMatchObject({ status: 200, json: { role: 'viewer' } })
    const chunked = ['Content-Type: application/json; charset=utf-8', 'Transfer-Encoding: chunked']
    const raw2 = '{"name":"eve","role":"viewer"}'
    const sent = `${raw2.length.toString(16)}\r\n${raw2}\r\n0\r\n\r\n`
    expect(await api.team({ ...create, token, headers: [...chunked, '', sent] })).toMatchObject({ status: 200 })
    const expecting = {
      ...create,
      token,
      raw: '{"name":"ida","role":"viewer"}',
      headers: ['Expect: 100-continue', 'Connection: close'],
    }
    expect((await api.team(expecting)).status).toBe(100)
    const known = await world.edge.administration.call('admin-token.list', {})
    expect(known.map(({ name }) => name)).toEqual(expect.arrayContaining(['bob', 'eve', 'ida']))
  })

  test.each([
    ['a surplus member', '{"name":"x","role":"viewer","id":"pat_000000000000000000000000"}', /^id is not known/],
    ['a hash', '{"name":"x","role":"viewer","hash":"x"}', /^hash is not known/],
    ['tenant', '{"name":"x","role":"viewer","tenant":"x"}', /^tenant is not known/],
    ['__proto__', '{"name":"x","role":"viewer","__proto__":{"role":"admin"}}', /__proto__/],
    ['__proto__, escaped', '{"name":"x","role":"viewer","\\u005f_proto__":{"role":"admin"}}', /__proto__/],
    ['constructor', '{"name":"x","role":"viewer","constructor":{"prototype":{"x":1}}}', /^constructor is not known/],
    ['a duplicate', '{"name":"x","role":"viewer","role":"admin"}', /"role" twice/],
    ['a duplicate, escaped', '{"name":"x","role":"viewer","r\\u006fle":"admin"}', /"role" twice/],
    ['a Cyrillic е', '{"name":"x","role":"viewer","rolе":"admin"}', /not known/],
    ['a zero-width space', '{"name":"x","role":"viewer","role\u200b":"admin"}', /not known/],
    ['a role that is none', '{"name":"x","role":"root"}', /^role (is|does|has) /],
    ['a role as a list', '{"name":"x","role":["admin"]}', /^role (is|does|has) /],
    ['a name as an object', '{"name":{"$ne":""},"role":"admin"}', /^name (is|does|has) /],
    ['a name as a number', '{"name":1,"role":"admin"}', /^name (is|does|has) /],
    ['a lifetime as text', '{"name":"x","role":"admin","expiresInSeconds":"60"}', /^expiresInSeconds (is|does|has) /],
    ['no lifetime', '{"name":"x","role":"admin","expiresInSeconds":0}', /^expiresInSeconds (is|does|has) /],
    ['a negative one', '{"name":"x","role":"admin","expiresInSeconds":-1}', /^expiresInSeconds (is|does|has) /],
    ['a fraction', '{"name":"x","role":"admin","expiresInSeconds":1.5}', /^expiresInSeconds (is|does|has) /],
    ['infinity', '{"name":"x","role":"admin","expiresInSeconds":1e999}', /^expiresInSeconds (is|does|has) /],
    ['NaN', '{"name":"x","role":"admin","expiresInSeconds":NaN}', /not JSON/],
    ['null', 'null', /^the body (is|does|has) /],
    ['a list', '[]', /^the body (is|does|has) /],
    ['a text', '"x"', /^the body (is|does|has) /],
    ['nothing', '', /not JSON/],
    ['a byte order mark', '\ufeff{"name":"x","role":"viewer"}', /not JSON/],
    ['a comment', '{"name":"x","role":"viewer"}//', /not JSON/],
    ['two documents', '{"name":"x","role":"viewer"}{}', /not JSON/],
    ['bytes that are no UTF-8', Buffer.from('{"name":"x\xff","role":"viewer"}', 'latin1'), /not JSON/],
  ])('%s', async (_what, raw, says) => {
    await refused({ ...create, raw }, 400, says)
  })

  test('what is wrong in a rule is said with its place, and never repeated', async () => {
    const rule = { name: 'ci', action: 'allow', include: [{ anyServiceToken: true }, { e_mail: 'hunter2' }] }
    const path = '/applications/db.localhost/rules'
    await refused({ method: 'PUT', path, body: { rules: [rule] } }, 400, /^rules\[0\]\.include\[1\]\.\w+ is /)
    const answer = await api.team({ method: 'PUT', path, token, body: { rules: [rule] } })
    expect(answer.body).not.toContain('hunter2')
    for (const selector of [
      { email: 'hunter2' },
      { emailDomain: 'hunter2' },
      { claim: { name: 'x', matches: '(hunter2' } },
    ]) {
      const sent = { method: 'PUT', path, body: { rules: [{ ...rule, include: [selector] }] } }
      await refused(sent, 400, /^rule 1: include\[0\]\.\w+ (is|has) /)
      expect((await api.team({ ...sent, token })).body).not.toContain('hunter2')
    }
    const unknown = { ...rule, include: [{ serviceToken: 'nobody' }] }
    await refused(
      { method: 'PUT', path, body: { rules: [unknown] } },
      400,
      /^rules\[0\]\.include\[0\]: no service token "nobody"/,
    )
    const meant = { name: 'no', action: 'deny', include: [], permit: { x: 1 } }
    await refused({ method: 'PUT', path, body: { rules: [meant] } }, 400, /permits nothing/)
  })

  test('a body that is too large is refused before it is sent, chunked or not', async () => {
    const large = ['Content-Type: application/json', 'Content-Length: 10000000']
    await refused({ ...create, headers: large }, 413, /larger than 65536/)
    await refused({ method: 'POST', path: '/access', headers: large }, 413, /larger than 1048576/)
    const chunks = `${'10000'}\r\n${' '.repeat(0x10000)}\r\n`.repeat(160)
    await refused(
      { ...create, headers: ['Content-Type: application/json', 'Transfer-Encoding: chunked', '', chunks] },
      413,
    )
    // A stranger’s is not even waited for.
    expect(await api.team({ ...create, headers: large })).toMatchObject({ status: 401 })
    const viewer = await world.edge.administration.call('admin-token.create', { body: { name: 'viv', role: 'viewer' } })
    expect(await api.team({ ...create, token: viewer.token, headers: large })).toMatchObject({ status: 403 })
  })

  test.each([
    ['lists', '['.repeat(100_000) + ']'.repeat(100_000)],
    ['objects', `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`],
    [
      'a document in the permit',
      `{"access":{"version":1,"applications":[{"hostname":"x.localhost","tunnel":"home","rules":[{"name":"x","action":"allow","include":[],"permit":${'['.repeat(40)}${']'.repeat(40)}}]}]}}`,
    ],
  ])('depth: %s', async (_what, raw) => {
    await refused({ method: 'POST', path: '/access', raw }, 400, /deeper than 32/)
  })

  test('a body is JSON, and comes only where one is wanted', async () => {
    const raw = '{"name":"x","role":"viewer"}'
    for (const type of [
      'text/plain',
      'application/x-www-form-urlencoded',
      'application/merge-patch+json',
      'application/jsonx',
    ]) {
      const headers = [`Content-Type: ${type}`, `Content-Length: ${raw.length}`, '', raw]
      await refused({ ...create, headers }, 400, /application\/json/)
    }
    await refused({ ...create }, 400, /application\/json/)
    await refused({ path: '/status', raw: '{}' }, 400, /no body/)
    await refused({ method: 'DELETE', path: '/tunnels/home', raw: '{}' }, 400, /no body/)
    await refused({ path: '/status?x=1' }, 400, /no query/)
    await refused({ path: '/audit?most=1&most=2' }, 400, /twice/)
    await refused({ path: '/audit?x=1' }, 400, /^x is not known/)
    for (const most of ['0', '-1', '1e3', '1001', '0x10', '', '1.0'])
      await refused({ path: `/audit?most=${most}` }, 400, /most/)
    await refused({ path: '/audit?since=yesterday' }, 400, /since/)
  })

  test('another method, or none of ours', async () => {
    for (const method of ['PATCH', 'OPTIONS', 'POST', 'PUT', 'DELETE'])
      expect(await api.team({ method, path: '/status', token })).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    expect(await api.team({ method: 'TRACE', path: '/status', token })).toMatchObject({
      status: 405,
      code: 'BAD_USAGE',
    })
    expect(await api.team({ method: 'HEAD', path: '/status', token })).toMatchObject({ status: 404, body: '' })
    expect(await api.team({ path: '/status', token, headers: ['X-HTTP-Method-Override: DELETE'] })).toMatchObject({
      status: 200,
    })
  })
})

describe('row 107: names and filters', () => {
  const odd = [
    "x'; drop table audit; --",
    'x" or 1=1',
    'a\r\nSet-Cookie: x=1',
    'a\u001b[2J',
    'a\u0000b',
    '\u202eabc',
    '%',
    '_',
    '*',
    '(a+)+$',
    '../x',
    'é',
    '\ud800',
    '',
  ]

  test.each(odd)('%j is no name, hostname or protocol', async name => {
    await refused({ method: 'POST', path: '/tunnels', body: { name } }, 400)
    await refused({ method: 'POST', path: '/service-tokens', body: { name } }, 400)
    await refused({ method: 'POST', path: '/admin-tokens', body: { name, role: 'viewer' } }, 400)
    await refused({ method: 'POST', path: '/applications', body: { hostname: name, tunnel: 'home' } }, 400)
    await refused({ method: 'POST', path: '/applications', body: { hostname: 'x.localhost', tunnel: name } }, 400)
    await refused(
      { method: 'POST', path: '/applications', body: { hostname: 'x.localhost', tunnel: 'home', protocols: [name] } },
      400,
    )
  })

  test.each(odd.filter(name => name !== ''))('%j finds nothing and harms nothing', async name => {
    const { rows } = await world.edge.store.check()
    for (const filter of ['action', 'actor', 'requestId', 'hostname']) {
      const query = new URLSearchParams({ [filter]: name.slice(0, 64) })
      expect(await api.team({ path: `/audit?${query}`, token })).toMatchObject({ status: 200, json: { rows: [] } })
    }
    if (name.isWellFormed()) {
      const path = `/service-tokens/${encodeURIComponent(name)}`
      expect([400, 404]).toContain((await api.team({ path, token })).status)
      expect(await api.socket({ path })).toMatchObject({ status: 404 })
      const found = await api.team({ path: `/tunnels/${encodeURIComponent(name)}`, token })
      expect(found.status).toBe(400)
    }
    expect((await world.edge.store.check()).rows).toBeGreaterThanOrEqual(rows)
    expect((await world.edge.store.check()).broken).toBeUndefined()
  })

  test('a rule’s name may be any text; it leaves as JSON, in the answer and in the audit log', async () => {
    const name = 'a\r\nb\u001b[31m\u202e\'"--'
    const body = { rules: [{ name, action: 'deny', include: [] }] }
    const answer = await api.team({ method: 'PUT', path: '/applications/db.localhost/rules', token, body })
    expect(answer).toMatchObject({ status: 200, json: { rules: [{ name }] } })
    const audit = await api.team({ path: '/audit?action=policy.put&most=1', token })
    expect(audit).toMatchObject({
      json: { rows: [{ detail: { rules: { after: [{ name }] } }, hostname: 'db.localhost' }] },
    })
    expect(answer.body + audit.body).not.toMatch(/[\u0000-\u001f]/)
  })
})

describe('one connection', () => {
  const create = (name: string) => {
    const body = JSON.stringify({ name })
    return `POST /api/v1/tunnels HTTP/1.1\r\nHost: edge.localhost\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  }
  const has = (name: string) => world.edge.store.snapshot.tunnels.has(name)

  test.each(['team', 'socket'] as const)('is for one request, at the door %s', async door => {
    await api[door]({ token, headers: ['', create(`${door}-second`)] })
    expect(has(`${door}-second`)).toBe(false)
    const { status } = await api[door]({ method: 'POST', path: '/tunnels', token, body: { name: `${door}-first` } })
    expect({ status, there: has(`${door}-first`) }).toEqual({ status: 200, there: true })
  })

  test('whose body does not come is given up, and nothing is done', { timeout: 30_000 }, async () => {
    await using slow = await startWorld({ limits: { bodyTime: 1000 } }, [], 0)
    const ann = { name: 'ann', role: 'admin' } as const
    const admin = await slow.edge.administration.call('admin-token.create', { body: ann })
    const { version } = slow.edge.store.snapshot
    const headers = ['Content-Type: application/json', 'Content-Length: 1000', '', '{"name":"half']
    const answer = await apiOf(slow.edge, slow.folder).team({
      method: 'POST',
      path: '/tunnels',
      token: admin.token,
      headers,
    })
    expect(answer.status).not.toBe(200)
    expect(slow.edge.store.snapshot.version).toBe(version)
    await expect.poll(() => slow.edge.counts().sockets, { timeout: 10_000 }).toBe(0)
  })
})

test('whatever is asked, the edge answers, and nothing is its own fault', { timeout: 60_000 }, async () => {
  const words = [
    'api',
    'v1',
    'tunnels',
    'home',
    'applications',
    'rules',
    'service-tokens',
    'access',
    'audit',
    'setup',
    '..',
    '%2e',
    '',
  ]
  const segment = fc.oneof(
    fc.constantFrom(...words),
    fc.string({ maxLength: 8 }).map(encodeURIComponent),
    fc.constant('%'),
  )
  const target = fc.array(segment, { maxLength: 6 }).map(all => `/api/v1/${all.join('/')}`)
  const method = fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'PATCH')
  const raw = fc.option(fc.oneof(fc.json(), fc.string(), fc.constant('{"name":"fuzz"}')), { nil: undefined })
  await fc.assert(
    fc.asyncProperty(target, method, raw, async (to, how, sent) => {
      const ask = { target: to, method: how, ...(sent !== undefined && { raw: sent }) }
      const { status } = await api.socket(ask)
      expect([200, 204, 400, 403, 404, 409]).toContain(status)
      // What has no one spelling is refused before anybody looks whose it is.
      expect([400, 401]).toContain((await api.team(ask)).status)
    }),
    { numRuns: 300 },
  )
})

describe('JSON', () => {
  const read = (text: string) => parseStrictly(Buffer.from(text))

  test('that JSON.stringify made is read as JSON.parse reads it', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 10 }), text => {
        let has = false
        JSON.parse(text, (key, value) => {
          has ||= key === '__proto__'
          return value
        })
        if (!has) expect(read(text)).toEqual(JSON.parse(text))
        else expect(() => read(text)).toThrow()
      }),
    )
  })

  test('names twice in one object are refused, in two objects not', () => {
    expect(read('[{"a":1},{"a":2,"b":{"a":[{"a":"a"},"a","a"]}}]')).toHaveLength(2)
    for (const text of [
      '{"a":1,"a":1}',
      '[{"a":{"b":[],"b":1}}]',
      '{"a":{"x":1},"b":2,"a":3}',
      '{"\\"":1,"\\"":2}',
      '{"":1,"":2}',
    ])
      expect(() => read(text)).toThrow(/twice/)
    expect(read('{"a":"{\\"a\\":1,\\"a\\":2}"}')).toEqual({ a: '{"a":1,"a":2}' })
  })

  test('is 32 levels deep and no more', () => {
    expect(read('['.repeat(32) + ']'.repeat(32))).toBeInstanceOf(Array)
    expect(() => read('['.repeat(33) + ']'.repeat(33))).toThrow(/deeper/)
    expect(read(`[${'[],'.repeat(1000)}1]`)).toHaveLength(1001)
  })
})
