// Row 127: ten thousand connections, held at every step by strangers of many addresses. Good visitors are served
// throughout, all strangers are gone in time, and nothing is left open.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createSecureContext, connect as secure } from 'node:tls'
import { initialiseEdge, type RunningEdge, startEdge } from '../dist/index.js'

export const stated = { connections: 10_000, seed: 1 }

/** A process has so many file handles only. */
const CHILDREN = 2
const PER_ADDRESS = 400
/** Connections that the edge takes beside those that are held: room for good visitors, some of whom go slowly. */
const SPARE = 200
const HEAD_TIME = 120_000
const log = { debug() {}, info() {}, warn() {}, error() {} }
const call = { signal: new AbortController().signal, log }

export default async function run({ connections = 0, seed = 1 }: Readonly<Record<string, number>>) {
  const data = await mkdtemp(join(tmpdir(), 'postern-held-'))
  const made = await initialiseEdge(
    { data, hostname: 'db.localhost', tunnel: 'home', teamDomain: 'edge.localhost' },
    call,
  )
  // Thousands of handshakes take this machine longer than the ten seconds that one may take: all are to be there at once.
  await using edge = await startEdge(
    {
      data,
      listen: { port: 0 },
      limits: { headTime: HEAD_TIME, idleTime: HEAD_TIME, connections: connections + SPARE },
    },
    call,
  )
  const context = createSecureContext({ ca: readFileSync(made.caFile) })
  const credential = `postern-client-id: ${made.serviceToken.id}\r\npostern-client-secret: ${made.serviceToken.secret}\r\n`
  const request = `GET / HTTP/1.1\r\nHost: db.localhost\r\n${credential}Connection: close\r\n\r\n`
  const visit = () => visitor(edge.port, context, request)
  await visit()
  await settled(edge)
  const before = readdirSync('/proc/self/fd').length

  const holders = Array.from({ length: CHILDREN }, (_, child) => {
    const share = Math.floor((connections * (child + 1)) / CHILDREN) - Math.floor((connections * child) / CHILDREN)
    const words = [edge.port, share, PER_ADDRESS, child, seed].map(String)
    return fork(join(import.meta.dirname, 'holder', 'holder.ts'), words, {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
  })
  const slowest: number[] = []
  let [most, visits] = [0, 0]
  const gone = Promise.all(holders.map(holder => once(holder, 'exit')))
  let over = false
  void gone.then(() => {
    over = true
  })
  while (!over) {
    const began = performance.now()
    if ((await visit()) !== 426) throw new Error('a good visitor was not served')
    slowest.push(performance.now() - began)
    visits += 1
    most = Math.max(most, edge.counts().sockets)
    await sleep(20)
  }
  await settled(edge)
  const left = readdirSync('/proc/self/fd').length - before
  await rm(data, { recursive: true })
  if (left > 0) throw new Error(`${left} descriptors left`)
  if (most < connections * 0.9) throw new Error(`only ${most} were held at once`)
  slowest.sort((one, other) => one - other)
  const at = (share: number) => Math.round(slowest[Math.floor((slowest.length - 1) * share)] ?? 0)
  const rssMiB = Math.round(process.memoryUsage.rss() / 2 ** 20)
  return { mostHeld: most, visits, visitMs50: at(0.5), visitMs99: at(0.99), descriptorsLeft: left, rssMiB }
}

/** @returns the status of its answer; 426 says that it was let in */
async function visitor(port: number, secureContext: ReturnType<typeof createSecureContext>, request: string) {
  const socket = secure({ socket: connect(port, '127.0.0.1'), servername: 'db.localhost', secureContext })
  let text = ''
  socket.on('data', chunk => {
    text += chunk
  })
  socket.on('error', () => {})
  socket.write(request)
  await once(socket, 'close')
  return Number(text.slice(9, 12))
}

async function settled(edge: RunningEdge): Promise<void> {
  for (let tries = 0; edge.counts().sockets > 0; tries += 1) {
    if (tries > 600) throw new Error(`${edge.counts().sockets} sockets are left`)
    await sleep(100)
  }
}
