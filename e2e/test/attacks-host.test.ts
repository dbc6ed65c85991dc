import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '@postern/dev'
import { describe, expect, it } from 'vitest'
import {
  DATA,
  dialTls,
  framed,
  lines,
  RST,
  readAll,
  upgrade,
  WINDOW,
  webSocketFrame,
  yamux,
} from '../world/attacker.ts'
import { temporaryFolder } from '../world/folder.ts'
import { startLab } from '../world/lab.ts'
import { startOrigin } from '../world/origin.ts'
import { Running, scriptOf, start } from '../world/program.ts'

// What the programs leave on the machine, and what the machine may do to them.

const seed = (data: string) => [
  'init',
  '--data',
  data,
  '--hostname',
  'db.localhost',
  '--team-domain',
  'edge.localhost',
  '--json',
]
/** The edge under a shell that first does something to the process. */
function under(shell: string, args: readonly string[]): Running {
  const words = ['-c', `${shell}; exec "$0" "$@"`, process.execPath, scriptOf('postern-edge'), ...args]
  return new Running(spawn('sh', words, { stdio: ['ignore', 'pipe', 'pipe'] }), 'postern-edge')
}
const run = async (running: Running) => ({ code: await running.exit, out: running.stdout, err: running.stderr })

function filesIn(folder: string): { path: string; mode: number }[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).map(name => {
    const path = join(folder, name)
    return { path, mode: statSync(path).mode & 0o777 }
  })
}

describe('files', () => {
  it('row 118: under umask 000 nothing is for others, at rest and at work', async () => {
    using folder = temporaryFolder()
    const data = join(folder.path, 'edge')
    expect((await run(under('umask 000', seed(data)))).code).toBe(0)
    const edge = under('umask 000', ['run', '--data', data, '--listen', '127.0.0.1:0'])
    await edge.says(/edge listens/)
    const files = filesIn(folder.path)
    expect(files.length).toBeGreaterThan(4)
    for (const { path, mode } of files) expect([path, mode & 0o077]).toEqual([path, 0])
    await edge.stop()
  })

  it.each<[string, (data: string, victim: string) => void]>([
    ['the folder', (data, victim) => symlinkSync(victim, data)],
    ['the database', (data, victim) => symlinkSync(join(victim, 'file'), join(made(data), 'edge.db'))],
    ['a database to come', (data, victim) => symlinkSync(join(victim, 'none'), join(made(data), 'edge.db'))],
    ['its log', (data, victim) => symlinkSync(join(victim, 'file'), join(made(data), 'edge.db-wal'))],
    ['its journal', (data, victim) => symlinkSync(join(victim, 'none'), join(made(data), 'edge.db-journal'))],
    ['the CA’s folder', (data, victim) => symlinkSync(victim, join(made(data), 'ca'))],
    [
      'the CA’s key',
      (data, victim) => symlinkSync(join(victim, 'file'), join(made(join(made(data), 'ca')), 'ca-key.pem')),
    ],
    [
      'the CA’s certificate, a FIFO',
      data => void execFileSync('mkfifo', ['-m', '600', join(made(join(made(data), 'ca')), 'ca.pem')]),
    ],
    ['a folder that others may enter', data => mkdirSync(data, { mode: 0o755 })],
  ])('row 119: a link where %s goes is refused, and what it points at stays as it is', async (_, plant) => {
    using folder = temporaryFolder()
    const victim = made(join(folder.path, 'victim'))
    writeFileSync(join(victim, 'file'), 'precious', { mode: 0o600 })
    const data = join(folder.path, 'edge')
    plant(data, victim)
    const { code, err } = await run(start('postern-edge', seed(data)))
    expect([code, /FILE_UNSAFE/.test(err)]).toEqual([5, true])
    expect(readdirSync(victim)).toEqual(['file'])
    expect(readFileSync(join(victim, 'file'), 'utf8')).toBe('precious')
  })

  function made(path: string): string {
    mkdirSync(path, { mode: 0o700, recursive: true })
    return path
  }
})

describe('row 156: kill -9', () => {
  // In the order in which a start makes them: moments by the clock would fall before the first or after the last.
  it.each(['', 'edge.db', 'edge.db-wal', 'ca', 'ca/ca-key.pem', 'ca/ca.pem', 'edge.db.version'])(
    'in the middle of the first start, when there is “%s”: the next goes on, or finds it whole',
    async name => {
      using folder = temporaryFolder()
      const data = join(folder.path, 'edge')
      const first = start('postern-edge', seed(data))
      while (!existsSync(join(data, name)) && first.child.exitCode === null) await sleep(1)
      await first.stop('SIGKILL')
      const second = await run(start('postern-edge', seed(data)))
      expect([0, 72], second.err).toContain(second.code)
      expect((await run(start('postern-edge', ['check', '--data', data]))).code).toBe(0)
    },
  )

  it('of an edge at work: it starts again, nothing is wrong, and what was decided is there', async () => {
    using folder = temporaryFolder()
    const data = join(folder.path, 'edge')
    const { caFile } = JSON.parse((await run(start('postern-edge', seed(data)))).out)
    const port = await freePort()
    for (let round = 0; round < 2; round++) {
      const edge = start('postern-edge', ['run', '--data', data, '--listen', `127.0.0.1:${port}`])
      await edge.says(/edge listens/)
      const socket = await dialTls({ port, caFile }, 'db.localhost')
      const answer = readAll(socket)
      socket.write('GET / HTTP/1.1\r\nHost: db.localhost\r\nConnection: close\r\n\r\n')
      expect(await answer).toMatch(/401/)
      await edge.stop('SIGKILL')
      expect((await run(start('postern-edge', ['check', '--data', data]))).out).toBe('nothing is wrong\n')
    }
  })
})

it('no file handles left: nobody new comes in, nothing ends; when some are free again, they do', async () => {
  using folder = temporaryFolder()
  const data = join(folder.path, 'edge')
  const { caFile } = JSON.parse((await run(start('postern-edge', seed(data)))).out)
  const port = await freePort()
  const edge = under('ulimit -n 64', ['run', '--data', data, '--listen', `127.0.0.1:${port}`])
  await edge.says(/edge listens/)
  const ask = async () => {
    const socket = await dialTls({ port, caFile }, 'db.localhost')
    const answer = readAll(socket)
    socket.write('GET / HTTP/1.1\r\nHost: db.localhost\r\nConnection: close\r\n\r\n')
    return answer
  }
  expect(await ask()).toMatch(/401/)
  const held = Array.from({ length: 100 }, () =>
    connect(port, '127.0.0.1')
      .on('error', () => {})
      .resume(),
  )
  await new Promise(resolve => setTimeout(resolve, 500))
  expect(edge.child.exitCode).toBe(null)
  for (const socket of held) socket.destroy()
  await expect.poll(() => ask().catch(String), { timeout: 15_000 }).toMatch(/401/)
  expect(await edge.stop()).toBe(0)
  expect(edge.stderr).not.toMatch(/ {4}at /)
})

it('row 42, row 107: all three programs at --log-level debug say no secret, and no line that a visitor wrote', async () => {
  await using origin = await startOrigin(socket => socket.pipe(socket))
  using folder = temporaryFolder()
  const data = join(folder.path, 'edge')
  const made = JSON.parse((await run(start('postern-edge', seed(data)))).out)
  const port = await freePort()
  const edge = start('postern-edge', ['run', '--data', data, '--listen', `127.0.0.1:${port}`, '--log-level', 'debug'])
  await edge.says(/edge listens/)
  const trust = ['--ca', made.caFile, '--log-level', 'debug']
  const daemon = start(
    'posternd',
    [
      '--hostname',
      'db.localhost',
      '--url',
      `tcp://127.0.0.1:${origin.port}`,
      '--edge',
      `https://edge.localhost:${port}`,
      ...trust,
    ],
    { env: { ...process.env, POSTERN_TUNNEL_TOKEN: made.tunnelToken } },
  )
  await daemon.says(/connected to the edge/)
  const { id, secret } = made.serviceToken
  const said: string[] = []
  const access = async (secretThere: string, host: string, wanted: number) => {
    const client = start(
      'postern',
      ['access', 'tcp', '--hostname', `${host}:${port}`, '--id', id, ...trust, '--url', 'localhost:0'],
      {
        env: { ...process.env, POSTERN_SERVICE_TOKEN_SECRET: secretThere },
      },
    )
    if (wanted === 0) {
      await client.says(/127\.0\.0\.1:\d+/)
      await client.stop()
    } else expect(await client.exit).not.toBe(0)
    said.push(client.stdout, client.stderr)
  }
  await access(secret, 'db.localhost', 0)
  const wrong = `psts_${'Canary'.repeat(7)}x`
  await access(wrong, 'db.localhost', 1)
  await access(secret, 'nobody.localhost', 1)
  // Heads and reasons with line breaks and terminal codes in them.
  const credential = lines({ 'postern-client-id': id, 'postern-client-secret': secret })
  for (const head of [
    `GET /?${secret} HTTP/1.1\r\nHost: \x1b[2J${secret}\r\n\r\n`,
    `${'X'.repeat(20)}${secret}\n\r\n\r\n`,
    upgrade('db.localhost', `${credential}${credential}`),
  ]) {
    const socket = await dialTls({ port, caFile: made.caFile }, 'db.localhost')
    const answer = readAll(socket)
    socket.write(head)
    await answer
  }
  const socket = await dialTls({ port, caFile: made.caFile }, 'db.localhost')
  socket.resume().write(upgrade('db.localhost', credential, 'postern-session-1'))
  const told = { code: 'ACCESS_ENDED', title: 'x', detail: '\n12:00:00 error FORGED \u001b[31m', requestId: '\nFORGED' }
  const header = { v: 1, hostname: 'db.localhost', requestId: 'x', purpose: 'tcp' }
  const before = origin.connections
  socket.write(
    webSocketFrame(
      0x82,
      Buffer.concat([yamux(DATA, 1, 1, '{"v":1,"type":"hello"}\n'), yamux(DATA, 1, 3, framed(header))]),
    ),
  )
  await expect.poll(() => origin.connections, { timeout: 10_000 }).toBe(before + 1)
  const cut = JSON.stringify({ type: 'cut', stream: 3, problem: told })
  socket.write(webSocketFrame(0x82, yamux(DATA, 0, 1, `${cut}\n`)))
  await sleep(200) // heard before the stream ends: a reason that comes late is told to nobody
  socket.write(webSocketFrame(0x82, yamux(WINDOW, RST, 3)))
  await daemon.says(/stream failed/)
  socket.destroy()
  await daemon.stop()
  await edge.stop()
  said.push(daemon.stdout, daemon.stderr, edge.stdout, edge.stderr)
  const all = said.join('')
  const inside = JSON.parse(Buffer.from(made.tunnelToken.slice(4), 'base64url').toString()).s
  for (const canary of [secret, wrong, made.tunnelToken, inside, 'PRIVATE KEY']) expect(all).not.toContain(canary)
  expect(all).not.toContain('\u001b')
  expect(all).not.toMatch(/^12:00:00 error FORGED/m)
  for (const line of (daemon.stderr + edge.stderr).trim().split('\n'))
    expect(line).toMatch(/^\d\d:\d\d:\d\d (debug|info|warn|error) /)
  expect(all).toContain('FORGED')
})

it('errors that strangers and visitors see name no internal address, port or path', async () => {
  const closed = await freePort()
  await using lab = await startLab(`tcp://127.0.0.1:${closed}`)
  const visitor = await lab.visitor()
  visitor.open(3, { v: 1, hostname: 'db.localhost', requestId: 'x', purpose: 'tcp' })
  await visitor.until(() => visitor.answer(3) !== undefined, 'an answer')
  expect(visitor.answer(3)?.problem?.code).toBe('ORIGIN_REFUSED')
  const texts = [visitor.text(3)]
  for (const request of [
    upgrade('db.localhost', lines(lab.headers())),
    upgrade('db.localhost', ''),
    upgrade('nobody.localhost', ''),
    'GET /\x00 HTTP/1.1\r\n\r\n',
  ]) {
    const socket = await dialTls(lab, 'db.localhost')
    const answer = readAll(socket)
    socket.write(request)
    texts.push(await answer)
  }
  expect(texts.map(text => /(?:"status":|HTTP\/1\.1 )(\d+)/.exec(text)?.[1])).toEqual([
    '502',
    '502',
    '401',
    '404',
    '400',
  ])
  for (const text of texts)
    expect(text).not.toMatch(new RegExp(`${closed}|127\\.0|ECONN|${lab.folder}|/work|/tmp|node:|home`))
  visitor.pipe.destroy()
})
