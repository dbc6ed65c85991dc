import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { joinHalves, pump } from '../src/index.ts'
import { readAll, tcpPair } from './pairs.ts'

test('the two ends are independent', async () => {
  const readable = new PassThrough()
  const writable = new PassThrough()
  const joined = joinHalves(readable, writable)
  const closed = once(joined, 'close')
  readable.end('in')
  expect((await readAll(joined)).toString()).toBe('in')
  joined.end('out')
  expect((await writable.toArray()).join('')).toBe('out')
  await closed
})

test('a writer that fails is an error of the whole', async () => {
  const readable = new PassThrough()
  const writable = new PassThrough()
  const joined = joinHalves(readable, writable)
  const failed = once(joined, 'error')
  writable.destroy(Object.assign(new Error('gone'), { code: 'EPIPE' }))
  expect((await failed)[0]).toMatchObject({ code: 'EPIPE' })
  expect(readable.destroyed).toBe(true)
})

test('a bounded amount waits in it', async () => {
  const readable = new PassThrough()
  const joined = joinHalves(readable, new PassThrough())
  let taken = 0
  while (readable.write(Buffer.alloc(16_384)) && taken < 1000) {
    taken++
    await new Promise(setImmediate)
  }
  expect(taken).toBeLessThan(32)
  joined.destroy()
})

const child = fileURLToPath(new URL('stdio.child.ts', import.meta.url))

test('stdin and stdout of a real process, half-closing both ways', async () => {
  const pair = await tcpPair()
  const address = await relayTo(pair.near)
  const program = spawn(process.execPath, [child, String(address.port)], { stdio: ['pipe', 'pipe', 'inherit'] })
  program.stdin.end('question')
  expect((await readAll(pair.far)).toString()).toBe('question')
  pair.far.end(Buffer.alloc(300_000, 'x'))
  const [answer, [status]] = await Promise.all([program.stdout.toArray(), once(program, 'exit')])
  expect(Buffer.concat(answer).length).toBe(300_000)
  expect(status).toBe(0)
})

test('a local program that stops reading is a cut with EPIPE, not a crash', async () => {
  const pair = await tcpPair()
  const address = await relayTo(pair.near)
  const program = spawn(process.execPath, [child, String(address.port)], { stdio: ['pipe', 'pipe', 'inherit'] })
  program.stdout.destroy()
  pair.far.on('error', () => {})
  pair.far.write(Buffer.alloc(3_000_000))
  const [status] = await once(program, 'exit')
  expect(status).toBe(32)
  pair.far.destroy()
})

/** A port whose one connection is pumped into `target`. */
async function relayTo(target: import('node:net').Socket): Promise<{ port: number }> {
  const { createServer } = await import('node:net')
  const server = createServer({ allowHalfOpen: true }, socket => {
    server.close()
    void pump(socket, target)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server.address() as { port: number }
}
