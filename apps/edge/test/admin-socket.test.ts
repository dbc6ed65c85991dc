import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { lstatSync, statSync } from 'node:fs'
import { access, chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { initialiseEdge, type RunningEdge, startEdge } from '../src/index.ts'
import { apiOf } from './admin-visitor.ts'
import { call } from './world.ts'

const BIN = join(import.meta.dirname, '../bin/postern-edge.js')
let folder: string
let data: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'postern-sock-'))
  data = join(folder, 'edge')
  await initialiseEdge({ data, teamDomain: 'edge.localhost' }, call)
})
afterEach(() => rm(folder, { recursive: true }))
const start = (adminSocket?: string | false) =>
  startEdge({ data, listen: { port: 0 }, ...(adminSocket !== undefined && { adminSocket }) }, call)

/** A socket whose process is gone. */
async function stale(path: string): Promise<void> {
  const code = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`
  await once(spawn(process.execPath, ['-e', code]), 'exit')
  expect(lstatSync(path).isSocket()).toBe(true)
}

describe('the administration’s socket', () => {
  test('is this user’s alone whatever the umask, serves as local, and goes with the edge', async () => {
    const old = process.umask(0)
    try {
      await using edge = await start()
      expect(edge.adminSocket).toBe(join(data, 'admin.sock'))
      expect(statSync(edge.adminSocket ?? '').mode & 0o777).toBe(0o600)
      expect(await apiOf(edge, data).socket({ path: '/whoami' })).toMatchObject({
        json: { actor: 'local', role: 'admin' },
      })
    } finally {
      process.umask(old)
    }
    await expect(access(join(data, 'admin.sock'))).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('can be elsewhere, in a folder for this user alone, or nowhere', async () => {
    {
      await using edge = await start(join(folder, 'private', 'a.sock'))
      expect((await apiOf(edge, data).socket({ path: '/status' })).status).toBe(200)
      expect(statSync(join(folder, 'private')).mode & 0o777).toBe(0o700)
    }
    {
      await using edge = await start(false)
      expect(edge.adminSocket).toBeUndefined()
      await expect(access(join(data, 'admin.sock'))).rejects.toMatchObject({ code: 'ENOENT' })
    }
    await mkdir(join(folder, 'open'))
    await chmod(join(folder, 'open'), 0o755)
    await expect(start(join(folder, 'open', 'a.sock'))).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
  })

  test('that a killed edge left is replaced', async () => {
    await stale(join(data, 'admin.sock'))
    await using edge = await start()
    expect((await apiOf(edge, data).socket({ path: '/status' })).status).toBe(200)
  })

  test('that somebody listens on is left to them', async () => {
    const server = createServer().listen(join(data, 'admin.sock'))
    await once(server, 'listening')
    await expect(start()).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      next: expect.stringContaining('--admin-socket'),
    })
    expect(lstatSync(join(data, 'admin.sock')).isSocket()).toBe(true)
    server.close()
    await once(server, 'close')
    await using edge = await start()
    expect((await apiOf(edge, data).socket({ path: '/status' })).status).toBe(200)
  })

  test('is never made over a file or through a link', async () => {
    const path = join(data, 'admin.sock')
    await writeFile(path, 'somebody’s')
    await expect(start()).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
    await rm(path)
    await stale(join(folder, 'elsewhere.sock'))
    await symlink(join(folder, 'elsewhere.sock'), path)
    await expect(start()).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
    expect(lstatSync(path).isSymbolicLink()).toBe(true)
    await rm(path)
    await symlink(folder, join(folder, 'linked'))
    await chmod(folder, 0o700)
    await expect(start(join(folder, 'linked', 'x.sock'))).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
  })

  test('with a path that is too long is an error before anything starts, which names the option', async () => {
    const long = join(folder, 'x'.repeat(120), 'admin.sock')
    await expect(start(long)).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      next: expect.stringMatching(/at most 10[37] bytes with --admin-socket/),
    })
    const most = process.platform === 'darwin' ? 103 : 107
    await using edge = await start(join(folder, 'y'.repeat(most - Buffer.byteLength(folder) - 3), 'a'))
    expect((await apiOf(edge, data).socket({ path: '/status' })).status).toBe(200)
  })

  test('takes a bearer at its word: whoever shows a token is not local', async () => {
    await using edge = await start()
    const api = apiOf(edge, data)
    expect(await api.socket({ path: '/status', token: 'nonsense' })).toMatchObject({
      status: 401,
      code: 'AUTH_REJECTED',
    })
    expect(await api.socket({ path: '/nothing' })).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    expect(await api.socket({ target: '/' })).toMatchObject({ status: 404 })
  })
})

test('postern-edge run: paths are said, the token is not; --admin-socket off', { timeout: 60_000 }, async () => {
  const run = async (...more: string[]) => {
    const child = spawn(process.execPath, [BIN, 'run', '--data', data, '--listen', '127.0.0.1:0', ...more])
    const [out] = await once(child.stdout, 'data')
    const token = await readFile(join(data, 'setup-token'), 'utf8')
    child.kill('SIGTERM')
    await once(child, 'exit')
    return { out: String(out), token: token.trim() }
  }
  const told = await run('--json')
  const paths = { adminSocket: join(data, 'admin.sock'), setupTokenFile: join(data, 'setup-token') }
  expect(JSON.parse(told.out)).toMatchObject(paths)
  expect(told.out).not.toContain(told.token)
  const off = await run('--admin-socket', 'off')
  expect(off.out).not.toContain('--socket')
  expect(off.out).toContain(`--setup-token-file ${join(data, 'setup-token')}`)
  expect(off.out).not.toContain(off.token)
})

test('row 111: killed at any moment, what was answered is there with its row, and nothing is without one', {
  timeout: 60_000,
}, async () => {
  const run = async () => {
    const child = spawn(process.execPath, [BIN, 'run', '--data', data, '--listen', '127.0.0.1:0'])
    await once(child.stdout, 'data')
    return child
  }
  const made: string[] = []
  for (let round = 0; round < 3; round += 1) {
    const child = await run()
    const gone = once(child, 'exit')
    const edge = { adminSocket: join(data, 'admin.sock'), teamDomain: '', port: 0 } as RunningEdge
    const api = apiOf(edge, data)
    const create = async (name: string) => {
      const answer = await api.socket({ method: 'POST', path: '/tunnels', body: { name } }).catch(() => undefined)
      if (answer?.status === 200) made.push(name)
    }
    const asked = Array.from({ length: 60 }, (_, n) => create(`t-${round}-${n}`))
    await Promise.race(asked.slice(10 * (round + 1)))
    child.kill('SIGKILL')
    await gone
    await Promise.all(asked)
  }
  expect(made.length).toBeGreaterThan(0)
  await using edge = await start()
  const tunnels = (await edge.administration.call('tunnel.list', {})).map(({ name }) => name)
  const rows = await edge.store.readAudit({ most: 1000, action: 'tunnel.create' })
  const noted = rows.map(({ detail }) => (detail as { tunnel: string }).tunnel)
  expect(tunnels).toEqual(expect.arrayContaining(made))
  expect(noted.sort()).toEqual(tunnels.sort())
  expect((await edge.store.check()).broken).toBeUndefined()
})
