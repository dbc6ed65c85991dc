import { randomBytes } from 'node:crypto'
import { chmod, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Seal } from '../src/keys/seal.ts'

let data: string
beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'postern-seal-'))
})
afterEach(() => rm(data, { recursive: true }))

const key = () => randomBytes(32).toString('base64url')

describe('the key that seals', () => {
  test('is made in a file of its own, and opens what it sealed when it is read again', async () => {
    const sealed = (await Seal.open(data, false)).seal('a secret')
    expect(sealed).not.toContain('secret')
    expect((await Seal.open(data, true)).open(sealed)).toBe('a secret')
  })

  test('may be given instead: then no file is made, and none is read', async () => {
    const given = key()
    const sealed = (await Seal.open(data, false, given)).seal('a secret')
    expect(await readdir(data)).toEqual([])
    expect((await Seal.open(data, true, `${given}\n`)).open(sealed)).toBe('a secret')
    await expect(Seal.open(data, true)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })

  test('that is another one opens nothing, and says so without a word of either', async () => {
    const sealed = (await Seal.open(data, false, key())).seal('a secret')
    const other = key()
    const error = await Seal.open(data, true, other)
      .then(seal => seal.open(sealed))
      .catch((thrown: Error) => thrown)
    expect(error).toMatchObject({ code: 'CONFIG_INVALID' })
    expect(String(error)).not.toContain(other)
  })

  test.each(['', 'short', 'x'.repeat(44), `${'a'.repeat(42)} `, `${'a'.repeat(60)}`, 'ä'.repeat(43)])(
    'cannot be %j',
    async text => {
      await expect(Seal.open(data, false, text)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    },
  )

  test('row 94: in a file that others may read is refused', async () => {
    await Seal.open(data, false)
    const path = join(data, 'keys/seal.key')
    await Seal.open(data, true)
    for (const mode of [0o644, 0o640, 0o604, 0o660]) {
      await chmod(path, mode)
      await expect(Seal.open(data, true)).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
    }
    await chmod(path, 0o600)
    await writeFile(path, 'not a key')
    await expect(Seal.open(data, true)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })
})
