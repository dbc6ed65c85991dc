import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { MIGRATIONS, migrate } from '../src/migrations.ts'
import { openStore } from '../src/store.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }
const call = { signal: new AbortController().signal, log }
const [FIRST = ''] = MIGRATIONS

let folder: string
let path: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'postern-migrations-'))
  path = join(folder, 'edge.db')
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const namesIn = (database: DatabaseSync) =>
  database
    .prepare("select name from sqlite_schema where name not like 'sqlite%'")
    .all()
    .map(row => row.name)

test('a failing one leaves nothing behind, and the next start goes on', () => {
  const database = new DatabaseSync(':memory:')
  const good = 'create table a (x)'
  expect(() => migrate(database, 'x', [good, 'create table b (x); create table b (x)'])).toThrow()
  expect(namesIn(database)).toEqual(['a'])
  expect(database.prepare('pragma user_version').get()?.user_version).toBe(1)
  expect(migrate(database, 'x', [good, 'create table b (x)'])).toBe(1)
  expect(namesIn(database)).toEqual(['a', 'b'])
  expect(migrate(database, 'x', [good, 'create table b (x)'])).toBe(0)
  database.close()
})

/** A file as version 1 wrote it, with the rows version 1's own code would have made. */
async function writeVersion1(rows: number): Promise<void> {
  const database = new DatabaseSync(path)
  migrate(database, path, [FIRST])
  database.exec(`
    update state set version = 9;
    insert into tunnels values ('home', 'Home');
    insert into applications values ('app-1', 'db.localhost', 'home', '["ssh"]');
    insert into records values ('service-token', 'pst_x', '{"name":"ci","hash":"h"}');
    insert into revocations values ('service-token:pst_x', 4);
  `)
  const insert = database.prepare(
    "insert into audit (sequence, at, class, action, actor, hash) values (?, 5, 'change', 'test', 'me', ?)",
  )
  let hash: Uint8Array = Buffer.alloc(32)
  for (let sequence = 1; sequence <= rows; sequence += 1) {
    const cells = [sequence, 5, 'change', 'test', 'me', null, null, null, null, null, null]
    hash = createHash('sha256').update(hash).update(JSON.stringify(cells)).digest()
    insert.run(sequence, hash)
  }
  database.close()
  await chmod(path, 0o600)
}

test.each([0, 3])('a file of version 1 with %i audit rows is brought here whole', async rows => {
  await writeVersion1(rows)
  await using store = await openStore({ path }, call)
  const { version, tunnels, applications, records, revocations } = store.snapshot
  expect(version).toBe(9)
  expect([...tunnels.values()]).toEqual([{ id: 'home', name: 'Home' }])
  expect(applications.get('db.localhost')).toEqual({
    id: 'app-1',
    hostname: 'db.localhost',
    tunnelId: 'home',
    protocols: ['ssh'],
    rules: [],
  })
  expect(records.get('service-token')?.get('pst_x')).toEqual({ name: 'ci', hash: 'h' })
  expect([...revocations]).toEqual([['service-token:pst_x', { version: 4 }]])
  expect(store.snapshot.groups).toEqual({})
  await store.apply([{ put: 'setting', key: 'x', value: 1 }], { action: 'next', actor: 'me' })
  expect((await store.readAudit({ most: 10 })).map(row => row.sequence)).toEqual(
    Array.from({ length: rows + 1 }, (_, at) => rows + 1 - at),
  )
  expect(await store.check()).toEqual({ integrity: 'ok', rows: rows + 1, removed: 0 })
})

test('a file of version 1 whose log was altered is still said to be so', async () => {
  await writeVersion1(3)
  const database = new DatabaseSync(path)
  database.exec("update audit set actor = 'nobody' where sequence = 2")
  database.close()
  await using store = await openStore({ path }, call)
  expect(await store.check()).toMatchObject({ broken: 2 })
})

test('kill -9 in the middle of a migration leaves the old version, and the next start goes on', {
  timeout: 60_000,
}, async () => {
  await writeVersion1(3)
  const child = spawn(process.execPath, [join(import.meta.dirname, 'migrating.ts'), path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const gone = once(child, 'exit')
  await once(child.stdout, 'data')
  child.kill('SIGKILL')
  await gone
  expect(child.signalCode).toBe('SIGKILL')
  const database = new DatabaseSync(path)
  expect(database.prepare('pragma user_version').get()?.user_version).toBe(1)
  expect(namesIn(database)).not.toContain('half')
  expect(database.prepare('select count(*) as count from revocations').get()?.count).toBe(1)
  database.close()
  await using store = await openStore({ path }, call)
  expect(await store.check()).toEqual({ integrity: 'ok', rows: 3, removed: 0 })
})

test('a file of a newer version is refused and left as it was', async () => {
  await writeVersion1(1)
  const database = new DatabaseSync(path)
  database.exec(`pragma user_version = ${MIGRATIONS.length + 1}`)
  database.close()
  await expect(openStore({ path }, call)).rejects.toMatchObject({ code: 'STORE_NEWER' })
  const after = new DatabaseSync(path)
  expect(namesIn(after)).not.toContain('audit_end')
  after.close()
})
