import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { echoThenTail, type Origin, startOrigin } from '../world/origin.ts'
import { startWorld, type World } from '../world/world.ts'

describe('TCP through Postern', () => {
  let origin: Origin
  let world: World
  beforeAll(async () => {
    origin = await startOrigin(echoThenTail)
    world = await startWorld({ hostname: 'db.localhost', service: `tcp://127.0.0.1:${origin.port}` })
  })
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]()
    await origin?.[Symbol.asyncDispose]()
  })

  it('keeps half-close on stdin and stdout: what the service says after our end arrives whole', async () => {
    const running = world.access('tcp')
    running.child.stdin?.end('abc')
    expect(await running.exit).toBe(0)
    expect([running.stdout, running.stderr]).toEqual([`HELLO\nabc${'t'.repeat(1000)}`, ''])
  })

  it('listens on a local port, for many connections at once, half-closing', async () => {
    const running = world.access('tcp', ['--url', 'localhost:0', '--json'])
    const port = Number((await running.says(/"address":"127\.0\.0\.1:(\d+)"/))[1])
    const texts = await Promise.all(Array.from({ length: 100 }, (_, i) => exchange(port, Buffer.from(`number ${i}`))))
    expect(texts.map(String)).toEqual(Array.from({ length: 100 }, (_, i) => `HELLO\nnumber ${i}${'t'.repeat(1000)}`))
    expect(await running.stop('SIGINT')).toBe(0)
  })

  it('carries 64 MiB each way, byte for byte', async () => {
    const running = world.access('tcp', ['--url', 'localhost:0', '--json'])
    const port = Number((await running.says(/"address":"127\.0\.0\.1:(\d+)"/))[1])
    const sent = randomBytes(64 * 1024 * 1024)
    const back = await exchange(port, sent)
    const hash = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
    expect(hash(back.subarray(6, -1000))).toBe(hash(sent))
    await running.stop('SIGINT')
  })

  it('takes the secret from stdin where that is free, and says why where it carries the connection', async () => {
    const [, id = '', , secretFile = ''] = world.credential
    const flags = ['--id', id, '--secret-file', '-']
    const listener = world.accessAs(flags, 'tcp', ['--url', 'localhost:0', '--json'])
    listener.child.stdin?.end(readFileSync(secretFile))
    const port = Number((await listener.says(/"address":"127\.0\.0\.1:(\d+)"/))[1])
    expect(String(await exchange(port, Buffer.from('x')))).toBe(`HELLO\nx${'t'.repeat(1000)}`)
    await listener.stop('SIGINT')
    const stdio = world.accessAs(flags, 'tcp')
    stdio.child.stdin?.end(readFileSync(secretFile))
    expect([await stdio.exit, stdio.stderr.includes('OPTION_CONFLICT')]).toEqual([2, true])
  })

  it('takes the credential from the environment, and the aliases people know', async () => {
    const [, id = '', , secretFile = ''] = world.credential
    const env = { TUNNEL_SERVICE_TOKEN_ID: id, TUNNEL_SERVICE_TOKEN_SECRET: readFileSync(secretFile, 'utf8').trim() }
    const running = world.accessAs([], 'tcp', [], { env })
    running.child.stdin?.end('x')
    expect([await running.exit, running.stdout.slice(0, 7)]).toEqual([0, 'HELLO\nx'])
  })
})

/** Sends everything, ends, and reads to the end. */
function exchange(port: number, sent: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = []
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true }, () => socket.end(sent))
    socket
      .on('data', (chunk: Buffer) => parts.push(chunk))
      .on('end', () => resolve(Buffer.concat(parts)))
      .on('error', reject)
  })
}
