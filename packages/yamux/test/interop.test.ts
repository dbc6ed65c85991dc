import { execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { content } from '@postern/compliance/random'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { YamuxSession, type YamuxStream } from '../src/index.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const BULK = 64 * 1024 * 1024
const never: AbortSignal = new AbortController().signal
let folder = ''
let binary = ''

async function readAll(stream: YamuxStream): Promise<Buffer> {
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  await Promise.race([
    once(stream, 'end'),
    once(stream, 'close').then(() => Promise.reject(stream.errored ?? new Error('cut'))),
  ])
  return Buffer.concat(chunks)
}

/** Writes `bytes` of content and returns their hash. Does not end the stream. */
async function writeBulk(stream: YamuxStream, bytes: number): Promise<Buffer> {
  const hash = createHash('sha256')
  for (let at = 0; at < bytes; at += 65_536) {
    const chunk = content(9, at, Math.min(65_536, bytes - at))
    hash.update(chunk)
    if (!stream.write(chunk)) await once(stream, 'drain')
  }
  return hash.digest()
}

/** Answers to the Go client, by the first byte of a stream (as test/go/peer.go does as a server). */
function serve(session: () => YamuxSession, stream: YamuxStream): void {
  stream.once('data', (first: Buffer) => {
    const kind = String.fromCharCode(first[0]!)
    stream.pause()
    if (first.length > 1) stream.unshift(first.subarray(1))
    if (kind === 'e') stream.pipe(stream)
    else if (kind === 'x') stream.reset()
    else if (kind === 'd') void down(stream)
    else if (kind === 'f') void hashBehindFin(session(), stream)
    else if (kind === 'g') {
      session().goAway()
      stream.write('gone')
      stream.pipe(stream)
    }
  })
}

async function down(stream: YamuxStream): Promise<void> {
  stream.resume()
  const hash = createHash('sha256')
  for (let at = 0; at < BULK; at += 65_536) hash.update(content(9, at, 65_536))
  stream.write(hash.digest())
  await writeBulk(stream, BULK)
  stream.end()
}

async function hashBehindFin(session: YamuxSession, stream: YamuxStream): Promise<void> {
  stream.end()
  const hash = createHash('sha256')
  for await (const chunk of stream) hash.update(chunk as Buffer)
  const answer = session.open()
  answer.end(hash.digest())
  await readAll(answer)
}

describe.skipIf(!peers.includes('go-yamux'))(
  'interop with hashicorp/yamux in Go (needs: apt-get install golang-go golang-github-hashicorp-yamux-dev)',
  { timeout: 120_000 },
  () => {
    beforeAll(() => {
      folder = mkdtempSync(join(tmpdir(), 'postern-yamux-'))
      binary = join(folder, 'peer')
      const env = {
        ...process.env,
        GO111MODULE: 'off',
        GOPATH: '/usr/share/gocode',
        GOFLAGS: '',
      }
      execFileSync('go', ['build', '-o', binary, join(import.meta.dirname, 'go/peer.go')], { env, stdio: 'inherit' })
    }, 120_000)

    afterAll(() => rmSync(folder, { recursive: true, force: true }))

    describe('Go is the server', () => {
      let session: YamuxSession
      let socket: net.Socket
      let lines: Interface
      let stop: () => void
      let offered: ((stream: YamuxStream) => void) | undefined

      beforeAll(async () => {
        const child = spawn(binary, ['server'], { stdio: ['ignore', 'pipe', 'inherit'] })
        stop = () => child.kill()
        lines = createInterface(child.stdout)
        const [port] = (await once(lines, 'line')) as [string]
        socket = net.connect({ port: Number(port), host: '127.0.0.1', allowHalfOpen: true })
        session = new YamuxSession(socket, { role: 'client', onStream: stream => offered?.(stream) })
      })

      afterAll(() => {
        session.destroy()
        stop()
      })

      function ask(kind: string): YamuxStream {
        const stream = session.open()
        stream.write(kind)
        return stream
      }

      /** The next stream that Go opens, read to its end. */
      function answer(): Promise<Buffer> {
        return new Promise((resolve, reject) => {
          offered = stream => {
            stream.end()
            readAll(stream).then(resolve, reject)
          }
        })
      }

      test('echo', async () => {
        const stream = ask('e')
        stream.end('hello')
        expect(String(await readAll(stream))).toBe('hello')
      })

      test('64 MiB down after our FIN', async () => {
        const stream = ask('d')
        stream.end()
        const got = await readAll(stream)
        expect(got.length).toBe(32 + BULK)
        expect(createHash('sha256').update(got.subarray(32)).digest().equals(got.subarray(0, 32))).toBe(true)
      })

      test('64 MiB up, then FIN and the hash', async () => {
        const stream = ask('u')
        const hash = await writeBulk(stream, BULK)
        stream.end()
        expect((await readAll(stream)).equals(hash)).toBe(true)
      })

      test('64 MiB up after the FIN of Go', async () => {
        const hashed = answer()
        const stream = ask('f')
        expect(await readAll(stream)).toHaveLength(0)
        const hash = await writeBulk(stream, BULK)
        stream.end()
        expect((await hashed).equals(hash)).toBe(true)
      })

      test('200 streams at once', async () => {
        const all = Array.from({ length: 200 }, async (_, n) => {
          const stream = ask('e')
          const data = content(n, 0, 60_000)
          stream.end(data)
          expect((await readAll(stream)).equals(data)).toBe(true)
        })
        await Promise.all(all)
        expect(session.streams).toBe(0)
      })

      test('our reset is seen as a reset', async () => {
        const said = answer()
        const stream = ask('r')
        await once(stream, 'data')
        stream.reset()
        expect(String(await said)).toBe('true')
      })

      test('pings both ways', async () => {
        expect(await session.ping(never)).toBeGreaterThan(0)
        const stream = ask('p')
        stream.end()
        expect(String(await readAll(stream))).toBe('<nil>')
      })

      test('its go-away stops new streams, the others go on; a stream that crossed it is seen as reset', async () => {
        socket.pause() // its go-away waits in the socket, so that our next stream crosses it
        const gone = once(lines, 'line')
        const stream = ask('g')
        await gone
        const crossing = ask('e')
        socket.resume()
        await expect(readAll(crossing)).rejects.toMatchObject({ code: 'STREAM_REFUSED' })
        expect(session.remoteGoneAway).toBe(true)
        expect(() => session.open()).toThrow('no new streams')
        stream.end('still here')
        expect(String(await readAll(stream))).toBe('still here')
      })
    })

    test('Go is the client', async () => {
      let session: YamuxSession | undefined
      const server = net.createServer({ allowHalfOpen: true }, socket => {
        session = new YamuxSession(socket, { role: 'server', onStream: stream => serve(() => session!, stream) })
      })
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      const names = ['echo', 'ping', 'half-close', 'half-close-peer', 'bulk', 'concurrent', 'reset', 'go-away']
      const { port } = server.address() as net.AddressInfo
      const child = spawn(binary, ['client', String(port), ...names], { stdio: ['ignore', 'pipe', 'inherit'] })
      const lines: string[] = []
      createInterface(child.stdout).on('line', line => lines.push(line))
      await once(child, 'close')
      expect(lines).toEqual(names.map(name => `ok ${name}`))
      expect((await session!.closed).clean).toBe(true) // we had said go-away, no stream was left
      expect(session!.streams).toBe(0)
      server.close()
    })
  },
)
