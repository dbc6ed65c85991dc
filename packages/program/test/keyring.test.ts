import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Keyring, keyringSecrets, systemKeyring } from '../src/keyring.ts'

let folder: string
let said: string[]
beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), 'postern-keyring-')), 'secrets')
  said = []
})
afterEach(() => rmSync(join(folder, '..'), { recursive: true }))
const secrets = (keyring?: Keyring) =>
  keyringSecrets(
    folder,
    async () => keyring,
    line => void said.push(line),
  )

/** One that keeps texts up to a length, as that of Windows does. */
function memoryKeyring(longest = 2560): Keyring & { readonly kept: Map<string, string> } {
  const kept = new Map<string, string>()
  return {
    kept,
    get: async key => kept.get(key),
    set: async (key, value) => {
      if (value.length > longest) throw new Error('too long')
      kept.set(key, value)
    },
    delete: async key => void kept.delete(key),
  }
}

describe('secrets where there is a keyring', () => {
  it('are there and in no file', async () => {
    const keyring = memoryKeyring()
    await secrets(keyring).set('a', 'one')
    expect([await secrets(keyring).get('a'), keyring.kept.get('a'), said]).toEqual(['one', 'one', []])
    await secrets(keyring).delete('a')
    expect([await secrets(keyring).get('a'), keyring.kept.size]).toEqual([undefined, 0])
  })

  it('are in a file where the keyring does not take them, and the one that it had is gone', async () => {
    const keyring = memoryKeyring(10)
    await secrets(keyring).set('a', 'short')
    await secrets(keyring).set('a', 'rather longer')
    expect([await secrets(keyring).get('a'), keyring.kept.size]).toEqual(['rather longer', 0])
    await secrets(keyring).set('a', 'short')
    expect(readdirSync(folder)).toEqual([])
  })

  it('of an earlier time without one are found', async () => {
    await secrets().set('a', 'one')
    expect(await secrets(memoryKeyring()).get('a')).toBe('one')
  })
})

describe('secrets where there is none', () => {
  it('row 118: are in files that are this user’s alone, which is said once', async () => {
    const old = process.umask(0)
    try {
      await secrets().set('a', 'one')
      await secrets().set('b', 'two')
    } finally {
      process.umask(old)
    }
    expect(said).toEqual([expect.stringContaining(`secrets are kept in ${folder}`)])
    expect(statSync(folder).mode & 0o777).toBe(0o700)
    for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600)
    await secrets().delete('a')
    await secrets().delete('a')
    expect(await secrets().get('a')).toBeUndefined()
  })

  it('nothing is waited for: no bus of a desktop, or one that is not there', async () => {
    expect(await systemKeyring('test', {})).toBeUndefined()
    expect(await systemKeyring('test', { POSTERN_KEYRING: 'off', DBUS_SESSION_BUS_ADDRESS: 'x' })).toBeUndefined()
    const failing = keyringSecrets(
      folder,
      () => Promise.reject(new Error('no store')),
      () => {},
    )
    await failing.set('a', 'one')
    expect(await failing.get('a')).toBe('one')
  })
})
