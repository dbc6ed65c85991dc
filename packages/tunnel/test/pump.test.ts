import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import tls from 'node:tls'
import { afterAll, describe, expect, test } from 'vitest'
import { type Pumped, pump } from '../src/index.ts'
import { pipePair, tcpPair, turns, until } from './pipe.ts'
import { call, headerOf, taking, tunnels, watch } from './rig.ts'

const MIB = 1024 * 1024
const folder = mkdtempSync(join(tmpdir(), 'postern-pump-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** A connection joined in its middle: what is written to one far end comes out at the other. */
interface Joined {
  readonly left: Duplex
  readonly right: Duplex
  readonly middle: readonly [Duplex, Duplex]
  readonly result: Promise<Pumped>
}

type Pair = () => Promise<[far: Duplex, near: Duplex]>

const memory: Pair = () => Promise.resolve(pipePair())

async function yamux(): Promise<[Duplex, Duplex]> {
  const taken = taking()
  const { client } = await tunnels({}, taken)
  const stream = await client.open(headerOf(), call)
  return [stream, taken.streams[0]!]
}

function certificate(): { key: Buffer; cert: Buffer } {
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  const ask = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  execFileSync('openssl', [...ask, '-subj', '/CN=localhost', '-keyout', key, '-out', cert], { stdio: 'ignore' })
  return { key: readFileSync(key), cert: readFileSync(cert) }
}

let made: { key: Buffer; cert: Buffer } | undefined

/** Both kinds: the far end is a TLS client's on a socket of its own, the near end a TLS server's. */
async function tlsPair(): Promise<[Duplex, Duplex]> {
  made ??= certificate()
  const server = tls.createServer({ ...made, allowHalfOpen: true })
  const accepted = new Promise<Duplex>(resolve => server.once('secureConnection', resolve))
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as net.AddressInfo
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const far = tls.connect({
    socket,
    ca: made.cert,
    servername: 'localhost',
    checkServerIdentity: () => undefined,
  })
  await new Promise((resolve, reject) => far.once('secureConnect', resolve).once('error', reject))
  const near = await accepted
  server.close()
  return [far, near]
}

const KINDS: Record<string, Pair> = { memory, tcp: tcpPair, yamux, tls: tlsPair }

async function joined(one: Pair, other: Pair, highWater?: number): Promise<Joined> {
  const [[left, a], [right, b]] = await Promise.all([one(), other()])
  return { left, right, middle: [a, b], result: pump(a, b, highWater === undefined ? {} : { highWater }) }
}

const combinations = Object.keys(KINDS).flatMap(one => Object.keys(KINDS).map(other => [one, other] as const))

describe.each(combinations)('%s to %s', (one, other) => {
  const start = (): Promise<Joined> => joined(KINDS[one]!, KINDS[other]!)

  test('an end goes through alone, the other direction goes on; nobody listens afterwards', async () => {
    const { left, right, middle, result } = await start()
    const [seenLeft, seenRight] = [watch(left), watch(right)]
    left.end('question')
    await until('the end on the right', () => seenRight.ended)
    expect(seenRight.bytes).toBe(8)
    expect(seenLeft.ended).toBe(false)
    right.write('an ')
    await turns()
    right.end('answer')
    await until('the end on the left', () => seenLeft.ended)
    expect(seenLeft.bytes).toBe(9)
    expect(await result).toEqual({ sent: 8, received: 9 })
    expect([seenLeft.error, seenRight.error]).toEqual([undefined, undefined])
    for (const stream of middle) {
      expect(stream.closed).toBe(true)
      for (const event of ['data', 'drain', 'finish']) expect(stream.listenerCount(event), event).toBe(0)
    }
  })

  test('a failure on one side is a failure on the other, never an end', async () => {
    const { left, right, middle, result } = await start()
    const seen = watch(right)
    watch(left)
    left.write('half of ')
    await until('the bytes', () => seen.bytes === 8)
    middle[0].destroy(new Error('broken'))
    expect(await result).toMatchObject({ sent: 8, received: 0, error: { message: 'broken' } })
    await until('the cut', () => seen.closed)
    expect(seen.ended).toBe(false)
    expect(seen.error).toBeDefined()
    left.destroy()
  })

  test('a close without an end is a failure too', async () => {
    const { left, right, middle, result } = await start()
    const seen = watch(right)
    watch(left)
    middle[0].destroy()
    expect(await result).toMatchObject({ error: { code: 'ERR_STREAM_PREMATURE_CLOSE' }, failed: 'a' })
    await until('the cut', () => seen.closed)
    expect(seen.ended).toBe(false)
    expect(seen.error).toBeDefined()
    left.destroy()
  })
})

describe('the pump', () => {
  test('delivers bytes and an end that came before it', async () => {
    const [far, near] = await tcpPair()
    near.pause()
    far.end('early')
    await until('the bytes', () => near.readableLength === 5)
    const [out, seenBy] = pipePair()
    const seen = watch(seenBy)
    const result = pump(near, out)
    await until('the end', () => seen.ended)
    expect(seen.bytes).toBe(5)
    seenBy.end()
    far.resume()
    expect(await result).toEqual({ sent: 5, received: 0 })
  })

  test('is given a stream that already failed: the other is cut', async () => {
    const [, dead] = pipePair()
    dead.on('error', () => {})
    dead.destroy(new Error('gone'))
    await turns()
    const [far, near] = await tcpPair()
    const seen = watch(far)
    expect(await pump(dead, near)).toMatchObject({ error: { message: 'gone' } })
    await until('the reset', () => seen.closed)
    expect(seen.error?.code).toBe('ECONNRESET')
  })

  test('stops reading above its high water, and loses nothing when it goes on', async () => {
    const { left, right, middle, result } = await joined(memory, memory, MIB)
    let written = 0
    const push = (): void => {
      while (written < 32 * MIB) {
        written += 65_536
        if (!left.write(Buffer.alloc(65_536, written / 65_536))) {
          left.once('drain', push)
          return
        }
      }
      left.end()
    }
    push()
    await turns(2000)
    expect(middle[1].writableLength).toBeLessThanOrEqual(MIB + 128 * 1024)
    expect(written).toBeLessThan(2 * MIB)
    let at = 0
    let wrong: number | undefined
    right.on('data', (chunk: Buffer) => {
      for (const [offset, byte] of chunk.entries()) {
        if (byte !== (Math.floor((at + offset) / 65_536) + 1) % 256) wrong ??= at + offset
      }
      at += chunk.length
    })
    right.end()
    left.resume()
    expect(await result).toEqual({ sent: 32 * MIB, received: 0 })
    expect({ at, wrong }).toEqual({ at: 32 * MIB, wrong: undefined })
  })

  test('works where the write queue’s own limit is above the pump’s', async () => {
    let part = 0
    const source = new Duplex({
      readableHighWaterMark: 1024,
      read() {
        this.push(part++ < 1000 ? Buffer.alloc(1000) : null)
      },
      write: (_chunk, _encoding, done) => done(),
    })
    const [out, seenBy] = pipePair()
    const seen = watch(seenBy)
    const result = pump(source, out, { highWater: 1 })
    seenBy.end()
    expect(await result).toEqual({ sent: 1_000_000, received: 0 })
    expect(seen).toMatchObject({ bytes: 1_000_000, ended: true })
  })

  test('a side that ended and closed: the other may still end, and is cut if it sends', async () => {
    for (const sends of [false, true]) {
      const [far, near] = await tcpPair()
      const [pipe, closing] = pipePair()
      const result = pump(pipe, near)
      pipe.on('error', () => {})
      closing.end() // a WebSocket's clean close: 'end', and then it is gone altogether
      const seen = watch(far)
      await until('FIN at the origin', () => seen.ended)
      pipe.destroy()
      await turns()
      expect(seen.error).toBe(undefined)
      if (sends) {
        far.write('late')
        expect(await result).toMatchObject({ error: { code: 'EPIPE' } })
      } else {
        far.end()
        expect(await result).toEqual({ sent: 0, received: 0 })
      }
      far.destroy()
    }
  })

  test('a reset right behind an end leaves no handle behind', async () => {
    const before = process.getActiveResourcesInfo().filter(name => name === 'TCPSocketWrap').length
    const [far, near] = await tcpPair()
    const pipe = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
    const seen = watch(near, false)
    const result = pump(pipe, near)
    pipe.push(null)
    pipe.once('end', () => pipe.destroy(new Error('right behind')))
    expect(await result).toMatchObject({ error: { message: 'right behind' } })
    expect(seen).toMatchObject({ closed: true, error: undefined })
    far.destroy()
    const count = (): number => process.getActiveResourcesInfo().filter(name => name === 'TCPSocketWrap').length
    await until('all sockets to be gone', () => count() === before)
  })

  test('standard input and output: a child that talks through it ends cleanly, and is told a cut by its exit code', async () => {
    // What a ProxyCommand does: the child's stdio is joined to a socket.
    const script = `
      import net from 'node:net'
      import { Duplex } from 'node:stream'
      import { pump } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)}
      const socket = net.connect({ port: Number(process.argv[1]), host: '127.0.0.1', allowHalfOpen: true })
      const { error, sent, received } = await pump(Duplex.from({ readable: process.stdin, writable: process.stdout }), socket)
      console.error(JSON.stringify({ sent, received, cut: error !== undefined }))
      process.exitCode = error ? 7 : 0`
    const { spawn } = await import('node:child_process')
    for (const cut of [false, true]) {
      const server = net.createServer({ allowHalfOpen: true }, socket => {
        socket.on('error', () => {})
        socket.on('data', chunk => {
          socket.write(chunk)
          if (cut) setTimeout(() => socket.resetAndDestroy(), 20)
        })
        socket.on('end', () => socket.end('bye'))
      })
      await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
      const { port } = server.address() as net.AddressInfo
      const child = spawn(process.execPath, ['--input-type=module', '-e', script, String(port)])
      const [out, err] = [[] as Buffer[], [] as Buffer[]]
      child.stdout.on('data', chunk => out.push(chunk))
      child.stderr.on('data', chunk => err.push(chunk))
      child.stdin.write('hello ')
      if (!cut) child.stdin.end()
      const code = await new Promise(resolve => child.on('close', resolve))
      expect(Buffer.concat(err).toString()).toContain(`"sent":6,"received":${cut ? 6 : 9},"cut":${cut}`)
      expect(Buffer.concat(out).toString()).toBe(cut ? 'hello ' : 'hello bye')
      expect(code).toBe(cut ? 7 : 0)
      child.stdin.destroy()
      await new Promise(resolve => server.close(resolve))
    }
  })
})
