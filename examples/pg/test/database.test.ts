import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { type DevSite, startDev } from '@postern/dev'
import { openDatabase, type Place } from '../src/database.ts'

// A PostgreSQL of yours on this machine: PGPORT says where, PGUSER and PGPASSWORD as whom.
const { PGPORT, PGUSER: user = 'postgres', PGDATABASE: database = 'postgres' } = process.env
const skip = PGPORT ? false : 'set PGPORT to the port of a PostgreSQL on this machine'

describe('pg over Postern', { skip, timeout: 60_000 }, () => {
  let dev: DevSite
  let place: Place
  before(async () => {
    dev = await startDev({ samples: false, endToEnd: true })
    const { address } = await dev.expose('db.localhost', `tcp://127.0.0.1:${PGPORT}`)
    const { id, secret } = dev.serviceToken
    place = { hostname: address, id, secret, ca: dev.ca, ...(dev.pin && { pin: dev.pin }) }
  })
  after(() => dev?.[Symbol.asyncDispose]())

  const open = (more: Partial<Place> = {}) => openDatabase({ ...place, ...more }, { user, database, max: 5 })

  test('asks the database, end to end with the pinned daemon', async () => {
    await using db = open()
    const { rows } = await db.pool.query('select 6 * 7 as answer')
    assert.deepEqual(rows, [{ answer: 42 }])
  })

  test('works through the edge as well, where nothing is pinned', async () => {
    const { pin: _, ...unpinned } = place
    await using db = openDatabase(unpinned, { user, database })
    assert.equal((await db.pool.query('select 1 as one')).rows[0].one, 1)
  })

  test('many connections at once, each with a transaction of its own', async () => {
    await using db = open()
    const sums = await Promise.all(
      Array.from({ length: 20 }, async (_, at) => {
        const client = await db.pool.connect()
        try {
          await client.query('begin')
          await client.query('create temporary table mine (n int) on commit drop')
          await client.query('insert into mine select generate_series(1, $1)', [at])
          const { rows } = await client.query('select coalesce(sum(n), 0)::int as sum from mine')
          await client.query('commit')
          return rows[0].sum
        } finally {
          client.release()
        }
      }),
    )
    assert.deepEqual(
      sums,
      Array.from({ length: 20 }, (_, at) => (at * (at + 1)) / 2),
    )
  })

  test('ten megabytes come as they are', async () => {
    await using db = open()
    const { rows } = await db.pool.query("select repeat('postern ', 1310720) as text")
    assert.equal(rows[0].text, 'postern '.repeat(1_310_720))
  })

  test('the program prints its rows and ends by itself', async () => {
    const env = {
      ...process.env,
      ...{ PGUSER: user, PGDATABASE: database, POSTERN_CA: dev.caFile, POSTERN_HOSTNAME: place.hostname },
      ...{ POSTERN_SERVICE_TOKEN_ID: place.id, SECRET_FILE: dev.serviceToken.secretFile },
    }
    const { stdout } = await promisify(execFile)(process.execPath, ['src/main.ts', 'select 2 as two'], { env })
    assert.equal(stdout, '[{"two":2}]\n')
  })

  test('whoever has another secret gets nothing, and is told why', async () => {
    await using db = open({ secret: `${place.secret.slice(0, -4)}0000` })
    await assert.rejects(db.pool.query('select 1'), { code: 'AUTH_REJECTED' })
  })

  test('a daemon with another key than the pinned one gets nothing either', async () => {
    await using db = open({ pin: `sha256:${'0'.repeat(64)}` })
    await assert.rejects(db.pool.query('select 1'), { code: 'TUNNEL_KEY_CHANGED' })
  })

  test('a token that is revoked ends what is open', async () => {
    const { id, secret } = await dev.edge.administration.call('service-token.create', { body: { name: 'leaver' } })
    const rules = [{ name: 'leaver', action: 'allow' as const, include: [{ serviceToken: id }] }]
    const params = { hostname: 'db.localhost' }
    await dev.edge.administration.call('policy.put', { params, body: { rules } })
    await using db = open({ id, secret })
    const client = await db.pool.connect()
    const lost = new Promise<Error & { code?: string }>(resolve => client.on('error', resolve))
    assert.equal((await client.query('select 1 as one')).rows[0].one, 1)
    await dev.edge.administration.call('service-token.revoke', { params: { token: id } })
    assert.equal((await lost).code, 'ACCESS_ENDED')
    client.release(true)
    await assert.rejects(db.pool.query('select 1'), ({ code }) => ['ACCESS_ENDED', 'TOKEN_REVOKED'].includes(code))
  })
})
