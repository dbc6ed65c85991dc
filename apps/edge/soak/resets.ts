// Row 132: visitors that go away at a random moment, by RST. Nothing may be left open, nothing may surprise the process, and who
// is connected throughout keeps the connection.
import { readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createSecureContext, type SecureContext, connect as secure } from 'node:tls'
import { initialiseEdge, type RunningEdge, startEdge } from '../dist/index.js'

export const stated = { resets: 100_000, seed: 1 }

const AT_ONCE = 20
const log = { debug() {}, info() {}, warn() {}, error() {} }
const call = { signal: new AbortController().signal, log }

export default async function run({
  resets = 0,
  seed = 1,
}: Readonly<Record<string, number>>): Promise<Record<string, number>> {
  let surprises = 0
  process.on('uncaughtException', () => {
    surprises += 1
  })
  const data = await mkdtemp(join(tmpdir(), 'postern-resets-'))
  const made = await initialiseEdge(
    { data, hostname: 'db.localhost', tunnel: 'home', teamDomain: 'edge.localhost' },
    call,
  )
  await using edge = await startEdge({ data, listen: { port: 0 } }, call)
  const credential = `postern-client-id: ${made.serviceToken.id}\r\npostern-client-secret: ${made.serviceToken.secret}\r\n`
  const context = createSecureContext({ ca: readFileSync(made.caFile) })
  const random = generator(seed)
  await batch(edge, context, credential, random, AT_ONCE)
  await settled(edge)
  const before = readdirSync('/proc/self/fd').length
  for (let done = 0; done < resets; done += AT_ONCE) await batch(edge, context, credential, random, AT_ONCE)
  await settled(edge)
  const left = readdirSync('/proc/self/fd').length - before
  await rm(data, { recursive: true })
  if (left > 0 || surprises > 0) throw new Error(`${left} descriptors left, ${surprises} surprises`)
  return { descriptorsLeft: left, surprises, rssMiB: Math.round(process.memoryUsage.rss() / 2 ** 20) }
}

async function batch(
  edge: RunningEdge,
  context: SecureContext,
  credential: string,
  random: () => number,
  count: number,
): Promise<void> {
  await Promise.all(Array.from({ length: count }, () => visit(edge, context, credential, random)))
}

/** One visitor: as far as TCP, the handshake, the head, or the answer, then RST. */
async function visit(
  edge: RunningEdge,
  context: SecureContext,
  credential: string,
  random: () => number,
): Promise<void> {
  const socket = connect(edge.port, '127.0.0.1').on('error', () => {})
  const gone = new Promise<void>(resolve => socket.once('close', () => resolve()))
  const stop = () => reset(socket)
  if (random() < 0.3) socket.once('connect', stop)
  else {
    const tls = secure({ socket, servername: 'db.localhost', secureContext: context }).on('error', () => {})
    const kind = [
      '',
      'Sec-WebSocket-Protocol: postern-session-1\r\n',
      'Sec-WebSocket-Protocol: postern-connector-1\r\n',
    ][Math.floor(random() * 3)]
    const head = `GET / HTTP/1.1\r\nHost: db.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${'A'.repeat(22)}==\r\n${kind}${random() < 0.5 ? credential : ''}\r\n`
    const sent = random() < 0.5 ? head : head.slice(0, Math.floor(random() * head.length))
    tls.once('secureConnect', () => tls.write(sent))
    tls.once('data', stop)
    setTimeout(stop, random() * 30)
  }
  await gone
}

function reset(socket: Socket): void {
  if (!socket.destroyed) socket.resetAndDestroy()
}

async function settled(edge: RunningEdge): Promise<void> {
  for (let tries = 0; edge.counts().sockets > 0; tries += 1) {
    if (tries > 300) throw new Error(`${edge.counts().sockets} sockets are left`)
    await sleep(100)
  }
}

/** Mulberry32. */
function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}
