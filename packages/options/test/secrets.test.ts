import { execFileSync } from 'node:child_process'
import { chmod, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readSecretFile } from '../src/index.ts'
import { never, rejected } from './sources.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'postern-secrets-'))
})
afterAll(() => rm(folder, { recursive: true }))

const write = async (name: string, content: string | Buffer, mode = 0o600) => {
  const path = join(folder, name)
  await writeFile(path, content, { mode })
  await chmod(path, mode)
  return path
}
const read = (path: string) => readSecretFile(path, '--secret-file', never)

describe.skipIf(process.platform === 'win32')('the permissions of a secret’s file', () => {
  test.each([0o600, 0o400, 0o700])('%o is read', async mode => {
    expect(await read(await write(`good-${mode}`, 'hunter22', mode))).toBe('hunter22')
  })
  test.each([0o640, 0o604, 0o660, 0o602, 0o644, 0o620, 0o601])(
    '%o is refused, with the command that mends it',
    async mode => {
      const path = await write(`bad-${mode}`, 'hunter22', mode)
      expect(await rejected(read(path))).toMatchObject({ code: 'FILE_UNSAFE', next: `chmod 600 ${path}` })
    },
  )
  test('systemd’s credentials are its group’s to read, and no more; elsewhere they are not', async () => {
    const path = await write('credential', 'hunter22', 0o440)
    try {
      process.env.CREDENTIALS_DIRECTORY = folder
      expect(await read(path)).toBe('hunter22')
      for (const mode of [0o460, 0o444, 0o441]) {
        await chmod(path, mode)
        expect(await rejected(read(path))).toMatchObject({ code: 'FILE_UNSAFE' })
      }
      await chmod(path, 0o440)
      process.env.CREDENTIALS_DIRECTORY = join(folder, 'elsewhere')
      expect(await rejected(read(path))).toMatchObject({ code: 'FILE_UNSAFE' })
    } finally {
      delete process.env.CREDENTIALS_DIRECTORY
    }
  })
  test('of a link, those of what it points to count', async () => {
    await symlink(await write('target', 'hunter22'), join(folder, 'link'))
    expect(await read(join(folder, 'link'))).toBe('hunter22')
    await chmod(join(folder, 'target'), 0o644)
    expect(await rejected(read(join(folder, 'link')))).toMatchObject({ code: 'FILE_UNSAFE' })
  })
  test('a FIFO, a device and a folder are refused without waiting', async () => {
    execFileSync('mkfifo', ['-m', '600', join(folder, 'fifo')])
    for (const path of [join(folder, 'fifo'), '/dev/null', folder])
      expect(await rejected(read(path))).toMatchObject({ code: 'FILE_UNSAFE' })
  })
})

describe('the content of a secret’s file', () => {
  test('loses one line end and nothing else', async () => {
    expect(await read(await write('unix', 'a b \n'))).toBe('a b ')
    expect(await read(await write('windows', 'abcd\r\n'))).toBe('abcd')
    expect(await read(await write('pem', 'one\ntwo\n\n'))).toBe('one\ntwo\n')
  })
  test('may be 64 KiB and no byte more, and not nothing', async () => {
    expect(await read(await write('full', 'x'.repeat(65_536)))).toHaveLength(65_536)
    expect(await rejected(read(await write('over', 'x'.repeat(65_537))))).toMatchObject({ code: 'OPTION_INVALID' })
    expect(await rejected(read(await write('empty', '\n')))).toMatchObject({ code: 'OPTION_INVALID' })
    expect(await rejected(read(await write('binary', Buffer.from([0xff, 0xfe]))))).toMatchObject({
      code: 'OPTION_INVALID',
    })
  })
  test('that is not there is unreadable', async () => {
    expect(await rejected(read(join(folder, 'nowhere')))).toMatchObject({
      code: 'FILE_UNREADABLE',
      message: expect.stringContaining('ENOENT'),
    })
  })
  test('an abort rejects with its reason', async () => {
    await expect(
      readSecretFile(await write('any', 'abcd'), 'x', AbortSignal.abort(new Error('enough'))),
    ).rejects.toThrow('enough')
  })
})
