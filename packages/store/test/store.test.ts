import { chmod, copyFile, link, mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Call } from '@postern/interface'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type ApplicationRecord, afterChange, type Change, EMPTY } from '../src/records.ts'
import { openStore } from '../src/store.ts'

const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const call: Call = { signal: new AbortController().signal, log: quiet }
const note = { action: 'test', actor: 'test' }

let folder: string
let path: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'postern-store-'))
  path = join(folder, 'edge.db')
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const db: ApplicationRecord = {
  id: 'app-1',
  hostname: 'db.localhost',
  tunnelId: 'home',
  protocols: ['ssh'],
  rules: [
    { name: 'ci', action: 'allow', include: [{ anyServiceToken: true }], permit: { a: [1, 'é'] } },
    { name: 'no', action: 'deny', include: [{ serviceToken: 'pst_x' }] },
  ],
}
const seed: Change[] = [
  { put: 'setting', key: 'teamDomain', value: 'edge.localhost' },
  { put: 'tunnel', value: { id: 'home', name: 'Home' } },
  { put: 'application', value: db },
  { put: 'record', namespace: 'service-token', id: 'pst_x', value: { name: 'ci', hash: 'h' } },
]
const plain = (snapshot: object) =>
  JSON.stringify(snapshot, (_, value) => (value instanceof Map ? [...value].sort() : value))

describe('state', () => {
  test('survives, and the snapshot in memory is what the file says', async () => {
    let before: string
    {
      await using store = await openStore({ path }, call)
      expect(store.snapshot.version).toBe(0)
      await store.apply(seed, note)
      await store.apply([{ revoke: 'service-token:pst_x' }, { revoke: 'later', at: 1_900_000_000_000.5 }], note)
      await store.apply([{ put: 'tunnel', value: { id: 'home', name: 'Home', createdAt: 5, identity: 'PEM' } }], note)
      await store.apply([{ put: 'application', value: { ...db, hostname: 'pg.localhost', createdAt: 7 } }], note)
      expect([...store.snapshot.applications.keys()]).toEqual(['pg.localhost'])
      await store.apply([{ delete: 'record', namespace: 'service-token', id: 'pst_x' }], note)
      await store.apply([{ put: 'record', namespace: 'service-token', id: '__proto__', value: null }], note)
      before = plain(store.snapshot)
    }
    await using again = await openStore({ path }, call)
    expect(plain({ ...again.snapshot, records: prune(again.snapshot.records) })).toBe(before)
    expect(again.snapshot.version).toBe(6)
    expect(again.snapshot.revocations.get('service-token:pst_x')).toEqual({ version: 2 })
    expect(again.snapshot.revocations.get('later')).toEqual({ version: 2, at: 1_900_000_000_000 })
    expect(again.snapshot.tunnels.get('home')).toEqual({ id: 'home', name: 'Home', createdAt: 5, identity: 'PEM' })
    expect(again.snapshot.applications.get('pg.localhost')?.createdAt).toBe(7)
    expect(again.snapshot.applications.get('pg.localhost')?.rules).toEqual(db.rules)
    expect(again.snapshot.records.get('service-token')?.has('__proto__')).toBe(true)
  })
  const prune = (records: ReadonlyMap<string, ReadonlyMap<string, unknown>>) => records

  test('a change is whole or not at all, and its refusal says why', async () => {
    await using store = await openStore({ path }, call)
    await store.apply(seed, note)
    const other = { ...db, id: 'app-2', tunnelId: 'nowhere', hostname: 'other.localhost' }
    const before = store.snapshot
    await expect(
      store.apply(
        [
          { put: 'tunnel', value: { id: 'new', name: 'new' } },
          { put: 'application', value: other },
        ],
        note,
      ),
    ).rejects.toMatchObject({ code: 'BAD_USAGE' })
    await expect(store.apply([{ put: 'application', value: { ...db, id: 'app-2' } }], note)).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    })
    await expect(store.apply([{ delete: 'tunnel', id: 'home' }], note)).rejects.toMatchObject({ code: 'BAD_USAGE' })
    expect(store.snapshot).toBe(before)
    const rows = await store.readAudit({ most: 10 })
    expect(rows.map(row => row.class)).toEqual(['change'])
    await store.apply(
      [
        { delete: 'application', id: 'app-1' },
        { delete: 'tunnel', id: 'home' },
      ],
      note,
    )
    expect(store.snapshot.tunnels.size).toBe(0)
  })

  test('options and groups are there after a start, and groups stay the same object until one is changed', async () => {
    const options = { sessionSeconds: 3600, name: 'Base', upgradeOrigins: ['https://a.example.com'] }
    {
      await using store = await openStore({ path }, call)
      await store.apply(seed, note)
      const { groups } = store.snapshot
      const value = { ...db, options }
      await store.apply([{ put: 'application', value }], note)
      expect(store.snapshot.groups).toBe(groups)
      const staff = [{ emailDomain: 'example.com' }]
      await store.apply(
        [
          { put: 'group', name: 'staff', value: staff },
          { put: 'group', name: 'constructor', value: [] },
        ],
        note,
      )
      await store.apply([{ delete: 'group', name: 'constructor' }], note)
      expect(store.snapshot.groups).toEqual({ staff })
    }
    await using again = await openStore({ path }, call)
    expect(again.snapshot.applications.get(db.hostname)?.options).toEqual(options)
    expect(again.snapshot.groups).toEqual({ staff: [{ emailDomain: 'example.com' }] })
  })

  test('bookkeeping is kept, without an audit row', async () => {
    {
      await using store = await openStore({ path }, call)
      await store.apply([{ revoke: 'k' }], note)
      await store.keep([
        { put: 'record', namespace: 'seen', id: 'a', value: 5 },
        { delete: 'revocation', key: 'k' },
      ])
      expect(store.snapshot.revocations.size).toBe(0)
      expect(await store.readAudit({ most: 10 })).toHaveLength(1)
    }
    await using again = await openStore({ path }, call)
    expect(again.snapshot.records.get('seen')?.get('a')).toBe(5)
    expect(again.snapshot.revocations.size).toBe(0)
  })

  test('one change of forty thousand steps is taken in at once', { timeout: 5000 }, () => {
    const all = Array.from({ length: 20_000 }, (_, n) => `${n}`)
    const record = (id: string): Change => ({ put: 'record', namespace: 'service-token', id, value: null })
    const put = (id: string): Change => ({ put: 'application', value: { ...db, id, hostname: `h${id}` } })
    const there = afterChange(EMPTY, [...all.map(record), ...all.map(put)], 1)
    expect([there.records.get('service-token')?.size, there.applications.size]).toEqual([20_000, 20_000])
    const steps = all.flatMap((id): Change[] => [
      { delete: 'record', namespace: 'service-token', id },
      { delete: 'application', id },
    ])
    const gone = afterChange(there, [...steps, put('5')], 2)
    expect([gone.records.get('service-token')?.size, [...gone.applications.keys()]]).toEqual([0, ['h5']])
    expect([there.records.get('service-token')?.size, there.applications.size]).toEqual([20_000, 20_000])
  })

  test('a change that a slow disk made after it was given up is there: nobody is let in until that is known', async () => {
    await using store = await openStore({ path }, call)
    await store.apply(seed, note)
    const seen: number[] = []
    store.onChange(() => seen.push(store.snapshot.version))
    // The deadline passes before the writer's answer can be heard: that takes a turn of the loop.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const givenUp = store.apply([{ revoke: 'k' }], note)
    const refused = expect(givenUp).rejects.toMatchObject({ code: 'STORE_UNUSABLE' })
    vi.advanceTimersByTime(30_000)
    vi.useRealTimers()
    expect(store.auditable).toBe(false)
    const meanwhile = store.apply([{ revoke: 'x' }], note)
    await expect(meanwhile).rejects.toMatchObject({ code: 'STORE_UNUSABLE' })
    await refused
    await expect.poll(() => store.auditable, { timeout: 10_000 }).toBe(true)
    expect([store.snapshot.version, [...store.snapshot.revocations.keys()]]).toEqual([2, ['k']])
    expect(seen).toEqual([2])
    await store.apply([{ revoke: 'x' }], note)
    expect([...store.snapshot.revocations.keys()]).toEqual(['k', 'x'])
  })

  test('listeners hear of each change with the snapshot already new', async () => {
    await using store = await openStore({ path }, call)
    const seen: number[] = []
    const stop = store.onChange(() => seen.push(store.snapshot.version))
    await Promise.all([store.apply(seed, note), store.apply([{ revoke: 'a' }], note)])
    stop()
    await store.apply([{ revoke: 'b' }], note)
    expect(seen).toEqual([1, 2])
  })
})

describe('the file', () => {
  test('is 0600 in a folder 0700 whatever the umask', async () => {
    const before = process.umask(0)
    try {
      const deep = join(folder, 'a', 'b')
      await using store = await openStore({ path: join(deep, 'edge.db') }, call)
      await store.apply(seed, note)
      expect((await stat(deep)).mode & 0o777).toBe(0o700)
      for (const name of ['edge.db', 'edge.db-wal']) expect((await stat(join(deep, name))).mode & 0o777).toBe(0o600)
    } finally {
      process.umask(before)
    }
  })

  test('is refused when others can reach it, or it is no plain file', async () => {
    await (await openStore({ path }, call))[Symbol.asyncDispose]()
    const unsafe = expect.objectContaining({ code: 'FILE_UNSAFE' })
    await chmod(path, 0o640)
    await expect(openStore({ path }, call)).rejects.toEqual(unsafe)
    await chmod(path, 0o600)
    await chmod(folder, 0o755)
    await expect(openStore({ path }, call)).rejects.toEqual(unsafe)
    await chmod(folder, 0o700)
    await symlink('/etc/passwd', `${path}-wal`)
    await expect(openStore({ path }, call)).rejects.toEqual(unsafe)
    await rm(`${path}-wal`)
    await link(path, join(folder, 'second'))
    await expect(openStore({ path }, call)).rejects.toEqual(unsafe)
    await rm(join(folder, 'second'))
    await mkdir(join(folder, 'x.db'), { mode: 0o700 })
    await expect(openStore({ path: join(folder, 'x.db') }, call)).rejects.toEqual(unsafe)
    await symlink(path, join(folder, 'y.db'))
    await expect(openStore({ path: join(folder, 'y.db') }, call)).rejects.toEqual(unsafe)
    await (await openStore({ path }, call))[Symbol.asyncDispose]()
  })

  test('of a newer version, of somebody else, damaged, or open elsewhere: its own refusal', async () => {
    const store = await openStore({ path }, call)
    await expect(openStore({ path }, call)).rejects.toMatchObject({
      code: 'STORE_UNUSABLE',
      message: /open in another/,
    })
    await store[Symbol.asyncDispose]()
    const file = new DatabaseSync(path)
    file.exec('pragma user_version = 99')
    file.close()
    await expect(openStore({ path }, call)).rejects.toMatchObject({ code: 'STORE_NEWER' })
    const other = join(folder, 'other.db')
    const foreign = new DatabaseSync(other)
    foreign.exec('create table t (x)')
    foreign.close()
    await chmod(other, 0o600)
    await expect(openStore({ path: other }, call)).rejects.toMatchObject({ code: 'STORE_UNUSABLE' })
    await writeFile(join(folder, 'bad.db'), 'x'.repeat(8192), { mode: 0o600 })
    await expect(openStore({ path: join(folder, 'bad.db') }, call)).rejects.toMatchObject({ code: 'STORE_UNUSABLE' })
  })
})

describe('audit', () => {
  test('rows come back in order, with strange text, and the chain holds', async () => {
    await using store = await openStore({ path }, call)
    await store.apply(seed, { ...note, detail: { count: 4 } })
    const at = Date.now()
    for (let n = 0; n < 1500; n += 1) store.audit({ at, action: 'access.decide', requestId: `r${n}`, allowed: true })
    store.audit({ at: at + 0.5, action: 'x\0y', hostname: '\ud800\0', requestId: 'strange', detail: ['\0', '\ud800'] })
    store.audit({ at, action: 'long', requestId: 'long', detail: 'x'.repeat(10_000) })
    const [row] = await store.readAudit({ most: 10, requestId: 'r7' })
    expect(row).toMatchObject({
      action: 'access.decide',
      requestId: 'r7',
      allowed: true,
      class: 'traffic',
      sequence: 9,
    })
    expect((await store.readAudit({ most: 1, requestId: 'long' }))[0]?.detail).toMatchObject({ left: 'out' })
    expect(await store.readAudit({ most: 1, requestId: 'strange' })).toHaveLength(1)
    expect(await store.check()).toEqual({ integrity: 'ok', rows: 1503, removed: 0 })
  })

  test.each([
    ['altered', "update audit set actor = 'nobody' where sequence = 3", 3],
    ['taken out', 'delete from audit where sequence = 3', 3],
    [
      'taken out and renumbered',
      'delete from audit where sequence = 3; update audit set sequence = sequence - 1 where sequence > 3',
      3,
    ],
    ['cut off the newest end', 'delete from audit where sequence >= 6', 6],
    ['cut off with all others', 'delete from audit', 1],
    [
      'said to be removed for its age',
      "insert into audit_removed values (3, 3, x'00'); delete from audit where sequence = 3",
      4,
    ],
  ])('a row that was %s is found', async (_, sql, broken) => {
    {
      await using store = await openStore({ path }, call)
      for (let n = 0; n < 6; n += 1) store.audit({ at: 1, action: 'a', actor: `${n}` })
    }
    const file = new DatabaseSync(path)
    file.exec(sql)
    file.close()
    await using store = await openStore({ path }, call)
    expect((await store.check()).broken).toBe(broken)
  })

  test('a row that comes after the end is lost, and nothing is tried for it', async () => {
    const store = await openStore({ path }, call)
    const row = { at: 1, action: 'session.end' }
    expect(store.audit(row)).toBe(true)
    await store[Symbol.asyncDispose]()
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    try {
      expect([store.audit(row), vi.getTimerCount()]).toEqual([false, 0])
    } finally {
      vi.useRealTimers()
    }
    await using again = await openStore({ path }, call)
    expect(await again.readAudit({ most: 10 })).toHaveLength(1)
  })

  test('what was noted is on disk once it is flushed, whatever else is noted meanwhile', async () => {
    await using store = await openStore({ path }, call)
    for (let n = 0; n < 1500; n += 1) store.audit({ at: 1, action: 'a', requestId: String(n) })
    let noisy = true
    const noise = (async () => {
      for (; noisy; await new Promise(setImmediate)) store.audit({ at: 1, action: 'noise' })
    })()
    expect(await store.flush()).toBe(true)
    const copy = join(folder, 'copy')
    await mkdir(copy)
    // As it would be found after a kill: the file is open to one process alone.
    for (const name of await readdir(folder))
      if (name.startsWith('edge.db')) await copyFile(join(folder, name), join(copy, name))
    noisy = false
    await noise
    using file = new DatabaseSync(join(copy, 'edge.db'))
    expect(file.prepare("select count(*) as rows from audit where action = 'a'").get()).toEqual({ rows: 1500 })
  })

  test('a full disk closes the door for new admissions', async () => {
    await using store = await openStore({ path, most: 200_000 }, call)
    expect(store.auditable).toBe(true)
    const detail = 'x'.repeat(4000)
    for (let n = 0; n < 200; n += 1) store.audit({ at: 1, action: 'a', detail })
    expect(await store.flush()).toBe(false)
    expect(store.auditable).toBe(false)
    await expect(store.apply([{ put: 'setting', key: 'x', value: 'y'.repeat(200_000) }], note)).rejects.toMatchObject({
      code: 'STORE_UNUSABLE',
    })
    expect((await store.check()).integrity).toBe('ok')
  })

  test('refusals fill half of the queue only, and a full queue admits nobody', async () => {
    await using store = await openStore({ path }, call)
    const refused = { at: 1, action: 'access.decide', allowed: false }
    let kept = 0
    for (let n = 0; n < 10_000; n += 1) if (store.audit(refused)) kept += 1
    expect(kept).toBe(4096)
    expect(store.auditable).toBe(true)
    expect(store.audit({ ...refused, allowed: true })).toBe(true)
    while (store.audit({ ...refused, allowed: true })) kept += 1
    expect(store.auditable).toBe(false)
    await store.readAudit({ most: 1 })
    expect(store.auditable).toBe(true)
    expect((await store.check()).broken).toBeUndefined()
  })
})
