import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import type { Call } from '@postern/interface'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { readPrivate, userFolder, writePrivate } from '../src/files.ts'
import { readTrust } from '../src/host.ts'
import { fileSecrets } from '../src/secrets.ts'

const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const call: Call = { signal: AbortSignal.timeout(15_000), log: quiet }
let folder: string
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'postern-program-'))))
afterEach(() => rmSync(folder, { recursive: true, force: true }))

describe('private files', () => {
  it('are written 0600 in a folder 0700 whatever the umask, and read back', async () => {
    const old = process.umask(0)
    try {
      await writePrivate(join(folder, 'new', 'token'), 'text')
    } finally {
      process.umask(old)
    }
    expect(statSync(join(folder, 'new')).mode & 0o777).toBe(0o700)
    expect(statSync(join(folder, 'new', 'token')).mode & 0o777).toBe(0o600)
    expect(await readPrivate(join(folder, 'new', 'token'))).toBe('text')
    expect(readdirSync(join(folder, 'new'))).toEqual(['token'])
  })

  it('are refused when others can read them, and read once they cannot', async () => {
    const file = join(folder, 'token')
    writeFileSync(file, 'text', { mode: 0o644 })
    await expect(readPrivate(file)).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
    chmodSync(file, 0o600)
    expect(await readPrivate(file)).toBe('text')
  })

  it('row 119: are not waited for where a FIFO stands in their place', async () => {
    spawnSync('mkfifo', ['-m', '600', join(folder, 'fifo')])
    await expect(readPrivate(join(folder, 'fifo'))).rejects.toMatchObject({ code: 'FILE_UNREADABLE' })
  })

  it('are never read through a symbolic link, nor written through one', async () => {
    writeFileSync(join(folder, 'target'), 'victim', { mode: 0o600 })
    symlinkSync(join(folder, 'target'), join(folder, 'link'))
    await expect(readPrivate(join(folder, 'link'))).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
    await writePrivate(join(folder, 'link'), 'mine')
    expect(await readPrivate(join(folder, 'target'))).toBe('victim')
    expect(await readPrivate(join(folder, 'link'))).toBe('mine')
  })

  it('are not written where others could swap them', async () => {
    mkdirSync(join(folder, 'open'))
    chmodSync(join(folder, 'open'), 0o777)
    await expect(writePrivate(join(folder, 'open', 'token'), 'x')).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
  })

  it('that are not there are undefined', async () => {
    expect(await readPrivate(join(folder, 'none'))).toBeUndefined()
  })

  it('lie where each platform expects them', () => {
    expect(userFolder({ POSTERN_HOME: '/x' }, 'linux')).toBe('/x')
    expect(userFolder({ XDG_CONFIG_HOME: '/c' }, 'linux')).toBe('/c/postern')
  })
})

describe('this user’s folder', () => {
  it.each([
    ['an XDG folder of no name', { XDG_CONFIG_HOME: '' }],
    ['an XDG folder that is relative (the specification has it ignored)', { XDG_CONFIG_HOME: '.' }],
    ['a home of no name', { HOME: '' }],
    ['a relative home', { HOME: '.' }],
    ['a POSTERN_HOME of no name', { POSTERN_HOME: '' }],
  ])('is never the working folder: %s', (_what, env) => {
    const home = userInfo().homedir
    vi.stubEnv('HOME', 'HOME' in env ? env.HOME : home)
    try {
      expect(userFolder(env, 'linux')).toBe(join(home, '.config', 'postern'))
    } finally {
      vi.unstubAllEnvs()
    }
    expect(userFolder({ XDG_CONFIG_HOME: folder }, 'linux')).toBe(join(folder, 'postern'))
  })
})

describe('the CA of the edge', () => {
  const pem = '-----BEGIN CERTIFICATE-----\n'

  it('is read from a regular file, or through a link to one', async () => {
    writeFileSync(join(folder, 'ca.pem'), pem)
    symlinkSync(join(folder, 'ca.pem'), join(folder, 'link'))
    expect(await readTrust(join(folder, 'link'))).toEqual({ ca: [pem] })
  })

  it('is not waited for where nobody writes into a FIFO, nor read without an end', async () => {
    spawnSync('mkfifo', [join(folder, 'fifo')])
    await expect(readTrust(join(folder, 'fifo'))).rejects.toMatchObject({ code: 'FILE_UNREADABLE' })
    await expect(readTrust('/dev/zero')).rejects.toMatchObject({ code: 'FILE_UNREADABLE' })
    writeFileSync(join(folder, 'large'), pem + 'x'.repeat(1024 * 1024))
    await expect(readTrust(join(folder, 'large'))).rejects.toMatchObject({ code: 'FILE_UNREADABLE' })
  })
})

describe('secrets', () => {
  it('are kept by key, and a key is no path', async () => {
    const secrets = fileSecrets(folder)
    await secrets.set('a.b', 'one')
    expect(await secrets.get('a.b')).toBe('one')
    await expect(secrets.get('../a')).rejects.toThrow()
  })

  it('are handled by one at a time', async () => {
    const secrets = fileSecrets(folder)
    let inside = 0
    let most = 0
    await Promise.all(
      Array.from({ length: 5 }, () =>
        secrets.exclusively(
          'k',
          async () => {
            most = Math.max(most, ++inside)
            await new Promise(resolve => setTimeout(resolve, 5))
            inside--
          },
          call,
        ),
      ),
    )
    expect(most).toBe(1)
  })

  it('are free again at once when the process that held them is killed', async () => {
    const held = `const { fileSecrets } = await import(${JSON.stringify(join(import.meta.dirname, '../dist/index.js'))})
      await fileSecrets(${JSON.stringify(folder)}).exclusively('k', () => { console.log('held'); return new Promise(done => setTimeout(done, 1e6)) }, { signal: new AbortController().signal })`
    const holder = spawn(process.execPath, ['--input-type=module', '-e', held], {
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: 15_000,
    })
    await new Promise(resolve => holder.stdout.once('data', resolve))
    let got = false
    const waiting = fileSecrets(folder).exclusively('k', async () => void (got = true), call)
    await new Promise(resolve => setTimeout(resolve, 200))
    expect(got).toBe(false)
    holder.kill('SIGKILL')
    await waiting
    expect(got).toBe(true)
  })
})
