import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import type { Call } from '@postern/interface'
import { leftOpen, resources } from '@postern/testkit'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { listenLocally } from '../src/listener.ts'

const log = { debug() {}, info() {}, error() {}, warn: (message: string) => expect.unreachable(message) }
const call: Call = { signal: AbortSignal.timeout(15_000), log }
let folder: string
let path: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postern-socket-'))
  path = join(folder, 'db.sock')
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** What a killed program leaves behind. */
function leaveStale(): void {
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`
  spawnSync(process.execPath, ['-e', script])
  expect(statSync(path).isSocket()).toBe(true)
}

describe('a forward at a Unix socket', () => {
  it('is this user’s alone whatever the umask, carries half-close, and is gone afterwards', async () => {
    const before = resources()
    const umask = process.umask(0)
    try {
      await using listener = await listenLocally({ path }, call)
      expect(process.umask()).toBe(0)
      expect([listener.address, (statSync(path).mode & 0o777).toString(8)]).toEqual([path, '600'])
      const client = connect({ path, allowHalfOpen: true })
      client.end('asked')
      for await (const served of listener.connections(call)) {
        let text = ''
        for await (const chunk of served.iterator({ destroyOnReturn: false })) text += chunk
        served.end(`${text} and answered`)
        break
      }
      let answer = ''
      for await (const chunk of client) answer += chunk
      expect(answer).toBe('asked and answered')
    } finally {
      process.umask(umask)
    }
    expect(existsSync(path)).toBe(false)
    expect(await leftOpen(before)).toEqual([])
  })

  it('takes the place of one that a killed program left', async () => {
    leaveStale()
    await using listener = await listenLocally({ path }, call)
    const client = connect({ path })
    await new Promise((resolve, reject) => client.once('connect', resolve).once('error', reject))
    client.destroy()
    expect(listener.address).toBe(path)
  })

  it('does not take the place of one that somebody listens at', async () => {
    const other = createServer().listen(path)
    await new Promise(resolve => other.once('listening', resolve))
    await expect(listenLocally({ path }, call)).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      message: expect.stringContaining('another program listens there'),
    })
    expect(existsSync(path)).toBe(true)
    await new Promise(resolve => other.close(resolve))
  })

  it.each(['file', 'folder', 'symbolic link', 'FIFO'])('removes no %s', async what => {
    if (what === 'file') writeFileSync(path, 'mine')
    if (what === 'folder') mkdirSync(path)
    if (what === 'symbolic link') symlinkSync(join(folder, 'elsewhere'), path)
    if (what === 'FIFO') spawnSync('mkfifo', [path])
    await expect(listenLocally({ path }, call)).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      message: expect.stringContaining('something that is not a socket is there'),
    })
    expect(existsSync(path) || what === 'symbolic link').toBe(true)
  })

  it.each([0o777, 0o770])('is not put into a folder that others can write (%o)', async mode => {
    chmodSync(folder, mode)
    await expect(listenLocally({ path }, call)).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
    expect(existsSync(path)).toBe(false)
    chmodSync(folder, 0o1777) // where nobody removes another’s file: the twin
    await using listener = await listenLocally({ path }, call)
    expect(listener.address).toBe(path)
  })

  it('is not put where others can put another folder in the place of its own', async () => {
    const own = join(folder, 'own')
    mkdirSync(own, { mode: 0o700 })
    chmodSync(folder, 0o777)
    await expect(listenLocally({ path: join(own, 'db.sock') }, call)).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
    symlinkSync(own, join(tmpdir(), `${basename(folder)}-link`))
    try {
      const path = join(tmpdir(), `${basename(folder)}-link`, 'db.sock') // the folder is what it leads to
      await expect(listenLocally({ path }, call)).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
      chmodSync(folder, 0o700)
      await using listener = await listenLocally({ path }, call)
      expect([listener.address, statSync(join(own, 'db.sock')).isSocket()]).toEqual([path, true])
    } finally {
      rmSync(join(tmpdir(), `${basename(folder)}-link`))
    }
  })

  it('is one program’s, however many start at once where a killed one left its own', async () => {
    for (let round = 0; round < 20; round++) {
      leaveStale()
      const start = async (_: unknown, turns: number) => {
        for (let i = 0; i < turns; i++) await new Promise(setImmediate) // each finds another a little further on
        return listenLocally({ path }, call)
      }
      const some = await Promise.allSettled(Array.from({ length: 16 }, start))
      const listeners = some.flatMap(one => (one.status === 'fulfilled' ? [one.value] : []))
      try {
        expect(listeners).toHaveLength(1)
        expect(readdirSync(folder)).toEqual(['db.sock'])
        const client = connect({ path })
        await new Promise((resolve, reject) => client.once('connect', resolve).once('error', reject))
        client.destroy()
      } finally {
        await Promise.all(listeners.map(one => one[Symbol.asyncDispose]()))
      }
    }
  })

  it('says what is wrong with a path', async () => {
    const deep = join(folder, 'nope', 'db.sock')
    await expect(listenLocally({ path: deep }, call)).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      message: expect.stringContaining('its folder does not exist'),
    })
    const long = join(folder, 'x'.repeat(100))
    await expect(listenLocally({ path: long }, call)).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      message: expect.stringContaining('at most 103 bytes'),
    })
  })
})
