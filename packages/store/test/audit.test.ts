import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { AuditEntry, Removal } from '../src/chain.ts'
import { Database } from '../src/database.ts'
import type { AuditPage, AuditQuery } from '../src/query.ts'
import { Retention } from '../src/retention.ts'
import { openStore, type Store } from '../src/store.ts'

const said: string[] = []
const say = (message: string): void => void said.push(message)
const log = { debug: say, info: say, warn: say, error: say }
const call = { signal: new AbortController().signal, log }
const DAY = 86_400_000

let folder: string
let path: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'postern-audit-'))
  path = join(folder, 'edge.db')
})
afterEach(() => rm(folder, { recursive: true, force: true }))

describe('row 107: what is asked for', () => {
  const entry = (n: number, more: Partial<AuditEntry> = {}): AuditEntry => ({
    at: 1000 + n,
    action: n % 2 === 0 ? 'access.decide' : 'stream.end',
    actor: `a${n % 3}`,
    hostname: `h${n % 5}.localhost`,
    requestId: `r${n}`,
    ...more,
  })
  let store: Store
  beforeEach(async () => {
    store = await openStore({ path }, call)
  })
  afterEach(() => store[Symbol.asyncDispose]())
  const numbers = async (query: Omit<AuditQuery, 'most'>, most = 1000) =>
    (await store.readAudit({ most, ...query })).map(row => row.sequence)

  test('every filter narrows, together with the others', async () => {
    for (let n = 1; n <= 30; n += 1) store.audit(entry(n))
    await store.readAudit({ most: 1 })
    await store.apply([{ put: 'setting', key: 'k', value: 1 }], { action: 'setting.put', actor: 'a1' })
    expect(await numbers({ action: 'access.decide', actor: 'a0' })).toEqual([30, 24, 18, 12, 6])
    expect(await numbers({ actor: 'a0', hostname: 'h0.localhost' })).toEqual([30, 15])
    expect(await numbers({ class: 'change' })).toEqual([31])
    expect(await numbers({ class: 'traffic', actor: 'a1', before: 10 })).toEqual([7, 4, 1])
    expect(await numbers({ class: 'traffic', since: 1029 })).toEqual([30, 29])
    expect(await numbers({ requestId: 'r7' })).toEqual([7])
    expect(await numbers({ requestId: 'r7', actor: 'a2' })).toEqual([])
    expect(await numbers({ before: 20 }, 3)).toEqual([19, 18, 17])
    expect(await numbers({}, 0)).toEqual([])
  })

  test('is data, whatever it looks like', async () => {
    const words = [
      "x' or '1'='1",
      "'; drop table audit; --",
      '" or 1=1 --',
      "x') union select * from records --",
      '%',
      '_',
      '*',
      '\0',
      "admin'/*",
      '?1',
    ]
    for (let n = 1; n <= 5; n += 1) store.audit(entry(n))
    for (const word of words) {
      for (const name of ['action', 'actor', 'hostname', 'requestId'] as const) {
        expect(await numbers({ [name]: word }), `${name}: ${word}`).toEqual([])
      }
    }
    // Names of columns and classes are no part of it either.
    expect(await numbers({ class: "traffic' or 1=1 --" as 'traffic' })).toEqual([5, 4, 3, 2, 1])
    expect(await numbers({ '1=1 or action': 'x' } as object)).toEqual([5, 4, 3, 2, 1])
    for (const actor of words) store.audit({ at: 1, action: 'a', actor })
    for (const actor of words.filter(word => word !== '\0')) {
      expect((await store.readAudit({ most: 10, actor })).map(row => row.actor)).toEqual([actor])
    }
    expect(await store.check()).toEqual({ integrity: 'ok', rows: 15, removed: 0 })
  })

  test('many readers do not hold up who writes', async () => {
    let read = 0
    const readers = Array.from({ length: 300 }, async () => {
      await store.readAudit({ most: 1, actor: 'nobody' })
      read += 1
    })
    await readers[0]
    await store.apply([{ revoke: 'x' }], { action: 'a', actor: 'b' })
    expect(read).toBeLessThan(150)
    await Promise.all(readers)
    expect(read).toBe(300)
  })

  test('is found far back, in steps', async () => {
    await store[Symbol.asyncDispose]()
    const database = new Database(path, 2 ** 30)
    const entries = Array.from({ length: 50_000 }, (_, n) => entry(n, { actor: n === 7 ? 'needle' : 'hay' }))
    database.answer({ ask: 'traffic', entries })
    database.answer({ ask: 'close' })
    store = await openStore({ path }, call)
    expect(await numbers({ actor: 'needle' })).toEqual([8])
    expect(await numbers({ actor: 'needle', since: 1008 })).toEqual([])
    expect(await numbers({ actor: 'needle', since: 1007 })).toEqual([8])
    expect(await numbers({ actor: 'nobody' })).toEqual([])
    expect(await numbers({ actor: 'hay' }, 45_000)).toHaveLength(45_000)
  })
})

describe('retention', () => {
  const now = 1_800_000_000_000
  const old = now - 91 * DAY
  const fresh = now - 89 * DAY

  /** Ages of traffic; `c` is a change. */
  function fill(database: Database, rows: readonly (number | 'c')[]): void {
    for (const row of rows) {
      if (row === 'c') {
        database.answer({ ask: 'change', changes: [{ revoke: 'x' }], note: { action: 'c', actor: 'me' } })
      } else database.answer({ ask: 'traffic', entries: [{ at: row, action: 't' }] })
    }
  }
  const sequences = (database: Database) =>
    (database.answer({ ask: 'rows', query: { most: 1000 } }) as AuditPage).rows.map(row => row.sequence)
  const removing = (database: Database, days?: number) =>
    new Retention({
      remove: async asked => database.answer({ ask: 'remove', ...asked }) as Removal,
      days: () => days,
      log,
    })

  test('old traffic goes, changes and younger traffic stay, and the chain still holds', async () => {
    const database = new Database(path, 2 ** 30)
    fill(database, ['c', old, old, 'c', old, fresh, old, 'c', fresh])
    using retention = removing(database)
    await retention.sweep(now)
    expect(sequences(database)).toEqual([9, 8, 6, 4, 1])
    expect(database.answer({ ask: 'check' })).toEqual({ integrity: 'ok', rows: 5, removed: 4 })
    await retention.sweep(now + 2 * DAY)
    expect(sequences(database)).toEqual([8, 4, 1])
    expect(database.answer({ ask: 'check' })).toEqual({ integrity: 'ok', rows: 3, removed: 6 })
    fill(database, [now])
    expect(sequences(database)).toEqual([10, 8, 4, 1])
    expect(database.answer({ ask: 'check' })).toEqual({ integrity: 'ok', rows: 4, removed: 6 })
    database.answer({ ask: 'close' })
    const file = new DatabaseSync(path)
    // Runs that touch are one: as many as there are changes between them.
    expect(file.prepare('select first, last from audit_removed').all().map(Object.values)).toEqual([
      [2, 3],
      [5, 7],
      [9, 9],
    ])
    file.exec("update audit set actor = 'nobody' where sequence = 8")
    file.close()
    const again = new Database(path, 2 ** 30)
    expect(again.answer({ ask: 'check' })).toMatchObject({ broken: 8 })
    again.answer({ ask: 'close' })
  })

  test('all of it may go, in steps, and the numbers go on', async () => {
    const database = new Database(path, 2 ** 30)
    database.answer({ ask: 'traffic', entries: Array.from({ length: 1234 }, () => ({ at: old, action: 't' })) })
    using retention = removing(database)
    await retention.sweep(now)
    fill(database, [now])
    expect(sequences(database)).toEqual([1235])
    expect(database.answer({ ask: 'check' })).toEqual({ integrity: 'ok', rows: 1, removed: 1234 })
    database.answer({ ask: 'close' })
  })

  test('rows from when the clock was wrong keep none behind them', async () => {
    const database = new Database(path, 2 ** 30)
    const future = Array.from({ length: 1100 }, () => ({ at: now + 10 * 365 * DAY, action: 't' }))
    database.answer({ ask: 'traffic', entries: future })
    fill(database, [old, 'c', old, fresh])
    using retention = removing(database)
    await retention.sweep(now)
    expect(sequences(database)).toHaveLength(1000)
    expect(sequences(database).slice(0, 3)).toEqual([1104, 1102, 1100])
    expect(database.answer({ ask: 'check' })).toEqual({ integrity: 'ok', rows: 1102, removed: 2 })
    database.answer({ ask: 'close' })
  })

  test.each([
    [1, 0],
    [91, 1],
    [92, 2],
    [0, 1],
    [-5, 1],
    [1e9, 1],
    [Number.NaN, 1],
  ])('a setting of %d days', async (days, left) => {
    const database = new Database(path, 2 ** 30)
    fill(database, [old - 1, fresh])
    using retention = removing(database, days)
    await retention.sweep(now)
    expect(sequences(database)).toHaveLength(left)
    database.answer({ ask: 'close' })
  })

  test('a disk that fails is said, and tried again later', async () => {
    using retention = new Retention({ remove: () => Promise.reject(new Error('full')), days: () => 1, log })
    await retention.sweep(now)
    expect(said).toContain('old audit rows could not be removed')
  })
})

describe('row 111: a change and its row', () => {
  test('one cannot be without the other', async () => {
    const database = new Database(path, 2 ** 30)
    const change = { ask: 'change', changes: [{ revoke: 'x' }], note: { action: 'c', actor: 'me' } } as const
    database.answer(change)
    database.answer({ ask: 'close' })
    // Whatever keeps the row from being written: here, its number is taken.
    const file = new DatabaseSync(path)
    file.exec("insert into audit values (2, 0, 'traffic', 'x', null, null, null, null, null, null, null, x'00')")
    file.close()
    const broken = new Database(path, 2 ** 30)
    expect(() => broken.answer(change)).toThrow()
    expect(broken.answer({ ask: 'snapshot' })).toMatchObject({ version: 1 })
    broken.answer({ ask: 'close' })
    // And the other way round: a change that fails leaves no row.
    const mended = new DatabaseSync(path)
    mended.exec('delete from audit where sequence = 2')
    mended.close()
    const whole = new Database(path, 2 ** 30)
    expect(() => whole.answer({ ...change, changes: [{ delete: 'tunnel', id: 'x' }, bad] })).toThrow()
    expect(whole.answer({ ask: 'check' })).toEqual({ integrity: 'ok', rows: 1, removed: 0 })
    expect(whole.answer(change)).toBe(2)
    expect(whole.answer({ ask: 'check' })).toEqual({ integrity: 'ok', rows: 2, removed: 0 })
    whole.answer({ ask: 'close' })
  })
  const bad = {
    put: 'application',
    value: { id: 'a', hostname: 'a', tunnelId: 'nowhere', protocols: [], rules: [] },
  } as const

  test('a full disk takes neither, and goes on once there is room', async () => {
    const big = (key: string) => [{ put: 'setting', key, value: 'y'.repeat(50_000) }] as const
    let kept = 0
    {
      await using store = await openStore({ path, most: 400_000 }, call)
      for (;;) {
        const done = await store.apply(big(`k${kept}`), { action: 'c', actor: 'me' }).then(
          () => true,
          () => false,
        )
        if (!done) break
        kept += 1
      }
      expect(kept).toBeGreaterThan(1)
      expect(store.snapshot.settings.size).toBe(kept)
      expect(await store.readAudit({ most: 100, class: 'change' })).toHaveLength(kept)
    }
    await using store = await openStore({ path }, call)
    expect(store.snapshot.settings.size).toBe(kept)
    expect(store.snapshot.version).toBe(kept)
    await store.apply(big('next'), { action: 'c', actor: 'me' })
    expect(await store.check()).toEqual({ integrity: 'ok', rows: kept + 1, removed: 0 })
  })

  test('many at once, beside traffic: each has its row and its version', async () => {
    await using store = await openStore({ path }, call)
    const writers = Array.from({ length: 200 }, (_, n) => {
      store.audit({ at: 1, action: 'access.decide', allowed: true })
      const changes = [{ put: 'record', namespace: 'n', id: `${n % 20}`, value: n }] as const
      return store.apply(changes, { action: 'c', actor: `w${n}` })
    })
    await Promise.all(writers)
    const rows = await store.readAudit({ most: 1000, class: 'change' })
    expect(new Set(rows.map(row => row.actor)).size).toBe(200)
    expect(store.snapshot.version).toBe(200)
    expect(await store.check()).toEqual({ integrity: 'ok', rows: 400, removed: 0 })
  })
})
