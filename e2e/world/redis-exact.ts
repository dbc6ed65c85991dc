// Started by a test as a program of its own: `node redis-exact.ts PORT OWN-PORT`. Speaks RESP to a Redis behind Postern, where a rule permits GET and
// PING, and compares what is answered with what should be, byte for byte. OWN-PORT is where the same Redis answers without Postern.
import assert from 'node:assert/strict'
import { randomBytes, randomInt } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

const [port = 0, ownPort = 0] = process.argv.slice(2).map(Number)
const DEADLINE = 30_000
const NOPERM = (name: string) => Buffer.from(`-NOPERM the rule that let you in does not permit '${name}'\r\n`)

function command(...words: (string | Buffer)[]): Buffer {
  const parts = words.flatMap(word => [
    Buffer.from(`$${Buffer.byteLength(word)}\r\n`),
    Buffer.from(word),
    Buffer.from('\r\n'),
  ])
  return Buffer.concat([Buffer.from(`*${words.length}\r\n`), ...parts])
}

function bulk(bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n')])
}

async function open(at: number): Promise<Socket> {
  const socket = connect({ port: at, host: '127.0.0.1', noDelay: true })
  await once(socket, 'connect')
  return socket.on('error', () => {}) // a cut, which shows in what was not heard
}

/** What is answered, until so many bytes are there, or the connection ends. */
async function answered(socket: Socket, length: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let got = 0
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    got += chunk.length
  })
  const signal = AbortSignal.timeout(DEADLINE)
  const closed = new Promise(resolve => socket.once('close', resolve))
  while (got < length && !socket.destroyed) {
    await Promise.race([once(socket, 'data', { signal }).catch(() => {}), closed])
    signal.throwIfAborted()
  }
  return Buffer.concat(chunks)
}

async function ask(at: number, sent: Buffer, length: number, pieces = [sent]): Promise<Buffer> {
  const socket = await open(at)
  const heard = answered(socket, length)
  for (const piece of pieces) {
    socket.write(piece)
    if (pieces.length > 1) await new Promise(resolve => setImmediate(resolve))
  }
  const all = await heard
  socket.destroy()
  return all
}

function cutAnywhere(bytes: Buffer): Buffer[] {
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const next = at + randomInt(1, 40)
    pieces.push(bytes.subarray(at, next))
    at = next
  }
  return pieces
}

const big = randomBytes(3 * 1024 * 1024)
const odd = Buffer.from('*1\r\n$8\r\nFLUSHALL\r\n+OK\r\n')
for (const [key, value] of [
  ['big', big],
  ['odd', odd],
] as const)
  assert.equal(String(await ask(ownPort, command('SET', key, value), 5)), '+OK\r\n')

const conversation: readonly (readonly [Buffer, Buffer])[] = [
  [command('GET', 'big'), bulk(big)],
  [command('FLUSHALL'), NOPERM('flushall')],
  [Buffer.from('PING\r\n'), Buffer.from('+PONG\r\n')],
  [Buffer.from('\r\n'), Buffer.alloc(0)],
  [command('DEL', 'odd'), NOPERM('del')],
  [command('get', 'odd'), bulk(odd)],
  [Buffer.from('  set a b\n'), NOPERM('set')],
  [command('GET', 'missing'), Buffer.from('$-1\r\n')],
  [command('GET'), Buffer.from("-ERR wrong number of arguments for 'get' command\r\n")],
  [command('PING', odd), bulk(odd)],
  [command('EVAL', 'return redis.call("FLUSHALL")', '0'), NOPERM('eval')],
]
const sent = Buffer.concat(conversation.map(([question]) => question))
const wanted = Buffer.concat(conversation.map(([, answer]) => answer))
for (const pieces of [[sent], cutAnywhere(sent), cutAnywhere(sent)]) {
  const heard = await ask(port, sent, wanted.length, pieces)
  assert.ok(heard.equals(wanted), `not what it should be: ${heard.length} bytes of ${wanted.length}`)
}

// What is too large, or can be read in two ways, ends the connection, and Redis has not heard of it.
for (const bad of [command('GET', Buffer.alloc(2 * 1024 * 1024)), Buffer.from('GET a\rFLUSHALL\r\n')])
  assert.equal(String(await ask(port, bad, 1)), '')
assert.equal(String(await ask(ownPort, Buffer.from('EXISTS big odd\r\n'), 4)), ':2\r\n')
console.log('exact')
