import { execFileSync } from 'node:child_process'
import { chmod, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readPrivateFile, writePrivateFile } from '../src/files.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'postern-files-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

test('what is written is read back, 0600, and nothing is left beside it', async () => {
  const path = join(folder, 'key')
  await writePrivateFile(path, 'one')
  await writePrivateFile(path, 'two')
  expect(await readPrivateFile(path)).toBe('two')
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  expect(await readdir(folder)).toEqual(['key'])
  expect(await readPrivateFile(join(folder, 'none'))).toBeUndefined()
})

test('a link, a FIFO, a file others can read and one that is too large are refused', async () => {
  const path = join(folder, 'key')
  await writeFile(path, 'secret', { mode: 0o600 })
  await symlink(path, join(folder, 'link'))
  execFileSync('mkfifo', ['-m', '600', join(folder, 'fifo')])
  await expect(readPrivateFile(join(folder, 'link'))).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
  await expect(readPrivateFile(join(folder, 'fifo'))).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
  await expect(readPrivateFile(path, 3)).rejects.toMatchObject({ code: 'FILE_UNREADABLE' })
  await chmod(path, 0o604)
  await expect(readPrivateFile(path)).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
  await chmod(path, 0o600)
  expect(await readPrivateFile(path)).toBe('secret')
})
