import { X509Certificate } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { problem } from '@postern/interface'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { certificatesOfDevCa, certificatesOfFiles } from '../src/front/certificates.ts'
import { type DevCa, openDevCa } from '../src/front/devca.ts'
import { Front } from '../src/front/front.ts'
import { FRONT_LIMITS } from '../src/front/limits.ts'
import { type Ask, asker, dial, parseAnswer, readAll } from './visitor.ts'

const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const call = { signal: new AbortController().signal, log: quiet }

let folder: string
let ca: DevCa
let front: Front
let port: number
let ask: Ask
const seen: { method: string; url: string; headers: Readonly<Record<string, readonly string[]>> }[] = []
const uncaught = vi.fn()

beforeAll(async () => {
  process.on('uncaughtException', uncaught)
  folder = await mkdtemp(join(tmpdir(), 'postern-front-'))
  ca = await openDevCa(join(folder, 'ca'))
  front = new Front({
    certificates: await certificatesOfDevCa(ca, 'edge.localhost', name =>
      ['edge.localhost', 'db.localhost'].includes(name),
    ),
    limits: { ...FRONT_LIMITS, connectionsPerAddress: 60, headTime: 2000 },
    log: quiet,
    exchange: exchange => {
      seen.push(exchange.presented)
      exchange.refuse(problem('LOGIN_REQUIRED', 'id'), { 'www-authenticate': ['A', 'B'] })
    },
    upgrade: upgrade => upgrade.refuse(problem('LOGIN_REQUIRED', 'id')),
    teamDomain: 'edge.localhost',
    certificateRule: () => undefined,
    isTransports: () => true,
  })
  port = (await front.listen('127.0.0.1', 0, call)).port
  ask = asker(port, ca.file, 'db.localhost')
})
beforeEach(() => {
  seen.length = 0
})
afterAll(async () => {
  await front.close()
  await rm(folder, { recursive: true })
  process.off('uncaughtException', uncaught)
  expect(uncaught).not.toHaveBeenCalled()
})

describe('certificates', () => {
  test('each hostname has its own; a name beside the team domain too, application or not; any other gets the team domain’s', async () => {
    const names = async (name: string) => {
      const socket = await dial(port, ca.file, name).catch((error: Error) => error)
      if (socket instanceof Error) return (socket as NodeJS.ErrnoException).code
      const { subjectaltname } = socket.getPeerCertificate()
      socket.destroy()
      return subjectaltname
    }
    expect(await names('db.localhost')).toBe('DNS:db.localhost')
    expect(await names('DB.LOCALHOST')).toBe('DNS:db.localhost')
    expect(await names('edge.localhost')).toBe('DNS:edge.localhost')
    expect(await names('stranger.localhost')).toBe('DNS:stranger.localhost')
    expect(await names('stranger.example')).toBe('ERR_TLS_CERT_ALTNAME_INVALID')
  })

  test('a stranger with many names does not have them all made', async () => {
    const ask = (name: string) =>
      dial(port, ca.file, name).then(
        socket => socket.destroy() && 1,
        () => 0,
      )
    // Within one second, however slow this machine is.
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() })
    const made = await Promise.all(Array.from({ length: 60 }, (_, i) => ask(`many-${i}.localhost`)))
    vi.useRealTimers()
    expect(made.filter(Boolean).length).toBeLessThanOrEqual(10)
    expect(await ask('db.localhost')).toBe(1)
  })

  test('the CA and its keys are for this user only, and are used again', async () => {
    const files = await readdir(join(folder, 'ca'))
    expect(files.sort()).toEqual(['ca-key.pem', 'ca.pem'])
    for (const file of files) expect((await stat(join(folder, 'ca', file))).mode & 0o777).toBe(0o600)
    const again = await openDevCa(join(folder, 'ca'))
    expect(again.file).toBe(ca.file)
    const leaf = new X509Certificate((await again.issue('db.localhost')).cert)
    expect(leaf.verify(new X509Certificate(await readFile(ca.file)).publicKey)).toBe(true)
  })
})

test('own certificate files: a pair is taken, anything else is refused by name', async () => {
  const { cert, key } = await ca.issue('own.localhost')
  const files = { cert: join(folder, 'own.pem'), key: join(folder, 'own-key.pem') }
  await writeFile(files.cert, cert)
  await writeFile(files.key, key, { mode: 0o600 })
  expect((await certificatesOfFiles(files, call)).server).toMatchObject({ cert })
  const other = { ...files, key: join(folder, 'ca', 'ca-key.pem') }
  await expect(certificatesOfFiles(other, call)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  await expect(certificatesOfFiles({ ...files, cert: join(folder, 'none') }, call)).rejects.toMatchObject({
    code: 'FILE_UNREADABLE',
  })
  await expect(certificatesOfFiles({ ...files, cert: files.key }, call)).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
  })
  await chmod(files.key, 0o644)
  await expect(certificatesOfFiles(files, call)).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
})

describe('row 128: what is too large or broken', () => {
  const host = 'Host: db.localhost\r\n'

  test('a plain request gets its answer, and nothing of it is lost on the way to a verifier', async () => {
    const answer = await ask(`GET /a?b HTTP/1.1\r\n${host}X-A: 1\r\nx-a: 2\r\n__proto__: 3\r\n\r\n`)
    expect(answer).toMatchObject({ status: 401, code: 'LOGIN_REQUIRED' })
    expect(answer.headers).toMatchObject({
      'cache-control': 'no-store',
      'postern-request-id': 'id',
      connection: 'keep-alive',
    })
    expect(seen[0]?.headers['x-a']).toEqual(['1', '2'])
    expect(Object.entries(seen[0]?.headers ?? {})).toContainEqual(['__proto__', ['3']])
  })

  test.each([
    ['a header of 16 KiB', `GET / HTTP/1.1\r\n${host}X: ${'x'.repeat(17_000)}\r\n\r\n`, 431],
    ['headers of 16 MiB', `GET / HTTP/1.1\r\n${host}${`X: ${'x'.repeat(1000)}\r\n`.repeat(16_000)}\r\n`, 431],
    ['1,000 headers', `GET / HTTP/1.1\r\n${host}${'X: y\r\n'.repeat(1000)}\r\n`, 431],
    ['101 headers', `GET / HTTP/1.1\r\n${host}${'X: y\r\n'.repeat(100)}\r\n`, 431],
    ['a target of 9 KiB', `GET /${'x'.repeat(9000)} HTTP/1.1\r\n${host}\r\n`, 414],
    ['a target of 64 KiB', `GET /${'x'.repeat(65_536)} HTTP/1.1\r\n${host}\r\n`, 431],
    [
      'row 72: 2,000 headers on an upgrade',
      `GET / HTTP/1.1\r\n${host}Connection: upgrade\r\nUpgrade: websocket\r\n${'X: y\r\n'.repeat(2000)}\r\n`,
      431,
    ],
    [
      'row 72: 64 KiB of sub-protocols',
      `GET / HTTP/1.1\r\n${host}Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: ${' ,'.repeat(32_768)}\r\n\r\n`,
      431,
    ],
    ['no HTTP', 'SSH-2.0-OpenSSH_9.2\r\n\r\n', 400],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
    ['a bare LF in a header', `GET / HTTP/1.1\r\n${host}A: b\nB: c\r\n\r\n`, 400],
    ['a space before the colon', `GET / HTTP/1.1\r\n${host}A : b\r\n\r\n`, 400],
    ['a NUL in a header', `GET / HTTP/1.1\r\n${host}A: \0\r\n\r\n`, 400],
    ['two lengths', `POST / HTTP/1.1\r\n${host}Content-Length: 1\r\nContent-Length: 2\r\n\r\nx`, 400],
    ['a length and chunks', `POST / HTTP/1.1\r\n${host}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx`, 400],
  ])('%s: refused, and nobody is asked', async (_, request, status) => {
    const answer = await ask(request)
    expect(answer.status).toBe(status)
    expect(answer.code).toBeDefined()
    expect(seen).toHaveLength(0)
  })

  test('100 headers pass', async () => {
    expect(await ask(`GET / HTTP/1.1\r\n${host}${'X: y\r\n'.repeat(99)}\r\n`)).toMatchObject({ status: 401 })
  })

  test.each([
    ['HEAD', `HEAD / HTTP/1.1\r\n${host}\r\n`],
    ['OPTIONS', `OPTIONS / HTTP/1.1\r\n${host}\r\n`],
    ['POST with a body', `POST / HTTP/1.1\r\n${host}Content-Length: 5\r\n\r\nhello`],
    ['POST that waits for 100', `POST / HTTP/1.1\r\n${host}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n`],
    ['an expectation nobody knows', `GET / HTTP/1.1\r\n${host}Expect: tea\r\n\r\n`],
    ['a health path', `GET /healthz HTTP/1.1\r\n${host}\r\n`],
    ['HTTP/1.0', `GET / HTTP/1.0\r\n${host}\r\n`],
  ])('%s is asked about like everything else', async (name, request) => {
    const answer = await ask(request)
    expect(answer).toMatchObject({ status: 401, code: name === 'HEAD' ? undefined : 'LOGIN_REQUIRED' })
    expect(seen).toHaveLength(1)
  })

  test('a body that never ends is not read', async () => {
    const socket = await dial(port, ca.file, 'db.localhost')
    const all = readAll(socket)
    socket.write(`POST / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n`)
    const chunk = `4000\r\n${'x'.repeat(0x4000)}\r\n`
    let sent = 0
    const pour = () => {
      while (!socket.destroyed && socket.write(chunk)) sent += chunk.length
    }
    socket.on('drain', pour)
    pour()
    expect(parseAnswer(await all).status).toBe(401)
    // Kernel buffers on both ends, and no more.
    expect(sent).toBeLessThan(32 * 1024 * 1024)
  })

  test('a head that never ends costs its sender the connection', async () => {
    const socket = await dial(port, ca.file, 'db.localhost')
    const all = readAll(socket)
    socket.write(`GET / HTTP/1.1\r\n${host}`)
    const timer = setInterval(() => socket.write('X: y\r\n'), 200)
    expect(parseAnswer(await all).status).toBe(408)
    clearInterval(timer)
  })
})

describe('row 132: sockets that go away', () => {
  const files = () => readdirSync('/proc/self/fd').length

  test('at every moment, a hundred times: nothing is left, nobody is surprised', async () => {
    const before = files()
    const moments: ((n: number) => Promise<void>)[] = [
      async () =>
        void connect(port, '127.0.0.1')
          .on('error', () => {})
          .destroy(),
      async () => {
        const socket = connect(port, '127.0.0.1').on('error', () => {})
        await new Promise(resolve => socket.once('connect', resolve))
        socket.write(Buffer.from([0x16, 3, 1, 0, 200, 1]))
        socket.resetAndDestroy()
      },
      async () => void (await dial(port, ca.file, 'db.localhost')).destroy(),
      async n => {
        const socket = await dial(port, ca.file, 'db.localhost')
        const request = `GET / HTTP/1.1\r\n${'Host: db.localhost\r\n'}Connection: upgrade\r\nUpgrade: websocket\r\n\r\n`
        socket.write(request.slice(0, n % request.length))
        socket.destroy()
      },
      async () => {
        const socket = await dial(port, ca.file, 'db.localhost')
        socket.write('GET / HTTP/1.1\r\nHost: db.localhost\r\n\r\n', () => socket.destroy())
      },
    ]
    for (let n = 0; n < 100; n += 1) await moments[n % moments.length]?.(n)
    await vi.waitFor(() => expect(front.connections).toBe(0), 10_000)
    await vi.waitFor(() => expect(files()).toBeLessThanOrEqual(before), 10_000)
    expect(await ask('GET / HTTP/1.1\r\nHost: db.localhost\r\n\r\n')).toMatchObject({ status: 401 })
  })

  test('one address cannot take all connections, and gets them back', async () => {
    const held = await Promise.all(Array.from({ length: 60 }, () => dial(port, ca.file, 'db.localhost')))
    await expect(dial(port, ca.file, 'db.localhost')).rejects.toThrow()
    for (const socket of held) socket.destroy()
    await vi.waitFor(() => expect(front.connections).toBe(0), 10_000)
    ;(await dial(port, ca.file, 'db.localhost')).destroy()
  })
})
