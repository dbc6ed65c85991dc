import { copyFile, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openStore } from '../src/store.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }
const call = { signal: new AbortController().signal, log }
const note = { action: 'test', actor: 'me' }

let folder: string
let path: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'postern-restored-'))
  path = join(folder, 'edge.db')
})
afterEach(() => rm(folder, { recursive: true, force: true }))

/** A copy is made of a file that nobody has open, as a backup should be. */
async function change(...keys: string[]): Promise<number> {
  await using store = await openStore({ path }, call)
  for (const revoke of keys) await store.apply([{ revoke }], note)
  return store.snapshot.version
}

describe('row 112: yesterday’s copy in the place of the database', () => {
  test('is noticed, with what was revoked since; until something is changed', async () => {
    await change('old')
    await copyFile(path, join(folder, 'backup'))
    expect(await change('service-token:pst_x', 'key:k')).toBe(3)
    await copyFile(join(folder, 'backup'), path)
    for (let time = 0; time < 2; time += 1) {
      await using store = await openStore({ path }, call)
      expect(store.restored).toEqual({ from: 1, was: 3, missed: ['service-token:pst_x', 'key:k'] })
    }
    {
      await using store = await openStore({ path }, call)
      await store.apply([], note)
      expect(store.restored).toBeUndefined()
      // What was decided under a version of the file that is gone is older than all that comes.
      expect(store.snapshot.version).toBe(4)
    }
    await using again = await openStore({ path }, call)
    expect(again.restored).toBeUndefined()
  })

  test('the allow twin: a start is not one, nor a copy that misses only bookkeeping, nor a new folder', async () => {
    await change('a', 'b')
    await copyFile(path, join(folder, 'backup'))
    {
      await using store = await openStore({ path }, call)
      expect(store.restored).toBeUndefined()
      await store.keep([{ put: 'record', namespace: 'seen', id: 'a', value: 1 }])
    }
    await copyFile(join(folder, 'backup'), path)
    await using store = await openStore({ path }, call)
    expect(store.restored).toBeUndefined()
  })

  test('500 keys are remembered, in a file of its owner’s alone', { timeout: 60_000 }, async () => {
    await change('first')
    await copyFile(path, join(folder, 'backup'))
    {
      await using store = await openStore({ path }, call)
      await store.apply(
        Array.from({ length: 600 }, (_, n) => ({ revoke: `k${n}` })),
        note,
      )
    }
    expect((await stat(`${path}.version`)).mode & 0o777).toBe(0o600)
    await copyFile(join(folder, 'backup'), path)
    await using store = await openStore({ path }, call)
    expect(store.restored?.missed).toHaveLength(500)
    expect(store.restored?.missed.at(-1)).toBe('k599')
  })

  test('a file that cannot be read stops the start', async () => {
    await change('a')
    for (const text of ['', '{}', '{"version":"9","revoked":[]}']) {
      await writeFile(`${path}.version`, text)
      await expect(openStore({ path }, call)).rejects.toMatchObject({ code: 'STORE_UNUSABLE' })
    }
  })
})
