import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { asker } from './visitor.ts'

const BIN = join(import.meta.dirname, '../bin/postern-edge.js')
let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'postern-edge-program-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const start = (...argv: string[]) => spawn(process.execPath, [BIN, ...argv], { stdio: ['ignore', 'pipe', 'pipe'] })
async function run(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const child = start(...argv)
  let [out, err] = ['', '']
  child.stdout.on('data', chunk => (out += chunk))
  child.stderr.on('data', chunk => (err += chunk))
  const [code] = await once(child, 'close')
  return { code, out, err }
}
const init = (...more: string[]) =>
  run('init', '--data', join(folder, 'edge'), '--team-domain', 'edge.localhost', '--hostname', 'db.localhost', ...more)

test('init, check, run: an edge that refuses strangers, and stops when asked', { timeout: 60_000 }, async () => {
  const data = join(folder, 'edge')
  const made = await init('--json')
  expect(made).toMatchObject({ code: 0, err: '' })
  const seeded = JSON.parse(made.out)
  expect(seeded).toMatchObject({ tunnel: 'home', teamDomain: 'edge.localhost', hostname: 'db.localhost' })
  expect(seeded.serviceToken.secret).toMatch(/^psts_/)
  expect(seeded.tunnelToken).toMatch(/^ptt_/)
  expect((await init()).code).toBe(72)
  expect(await run('check', '--data', data)).toMatchObject({ code: 0, out: 'nothing is wrong\n' })

  const child = start('run', '--data', data, '--listen', '127.0.0.1:0', '--json')
  let err = ''
  child.stderr.on('data', chunk => (err += chunk))
  const [line] = await once(child.stdout, 'data')
  const { listening, caFile } = JSON.parse(String(line))
  const ask = asker(Number(listening.split(':')[1]), caFile, 'db.localhost')
  expect(await ask('GET / HTTP/1.1\r\nHost: db.localhost\r\n\r\n')).toMatchObject({ status: 401 })
  const credential = `postern-client-id: ${seeded.serviceToken.id}\r\npostern-client-secret: ${seeded.serviceToken.secret}\r\n`
  expect(await ask(`GET / HTTP/1.1\r\nHost: db.localhost\r\n${credential}\r\n`)).toMatchObject({ status: 426 })
  expect(await run('check', '--data', data)).toMatchObject({ code: 70 })
  child.kill('SIGTERM')
  const [code] = await once(child, 'exit')
  expect(code).toBe(0)
  expect(err).not.toContain(seeded.serviceToken.secret)
  expect(err).not.toContain('    at ')
})

test('what is wrong is said in a line, with its exit code', { timeout: 60_000 }, async () => {
  const data = join(folder, 'edge')
  const option = ['init', '--data', data, '--team-domain', 'edge.localhost', '--hostname', '-oProxyCommand=x']
  const wrong: [code: number, running: ReturnType<typeof run>][] = [
    [3, run('run', '--data', data)],
    [3, run('check', '--data', join(folder, 'none'))],
    [2, run('run')],
    [2, run('run', '--data', data, '--listen', 'x')],
    [2, run('walk')],
    [2, init('--hostname', 'x')],
    [2, run(...option)],
    [0, run('--help')],
  ]
  for (const [code, running] of wrong) expect(await running).toMatchObject({ code })
  await init()
  await chmod(join(data, 'edge.db'), 0o644)
  const unsafe = await run('check', '--data', data)
  expect(unsafe.code).toBe(5)
  expect(unsafe.err).toMatch(/edge\.db can be reached by other users/)
  expect(unsafe.err).not.toContain('    at ')
})

test('init without a hostname: no application and no secret, ready to be administered', {
  timeout: 60_000,
}, async () => {
  const data = join(folder, 'edge')
  const bare = ['init', '--data', data, '--team-domain', 'edge.localhost']
  expect(await run(...bare, '--tokens', join(folder, 'tokens'))).toMatchObject({ code: 2, out: '' })
  const made = await run(...bare)
  expect(made).toMatchObject({ code: 0, err: '', out: expect.stringContaining('postern tunnel create') })
  expect(made.out).not.toMatch(/pt[ts]_|psts_/)
  expect(await run('check', '--data', data)).toMatchObject({ code: 0 })
  expect(await run(...bare)).toMatchObject({ code: 72 })
})
