// The load where there is no C compiler: says and does what main.c, serve.c and drive.c do.
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'

const GREETING = 'SSH-2.0-bench\r\n'
const BYTES = Buffer.alloc(256 * 1024, 'postern ')
const [REQUEST, ANSWER, PING] = [128, 1024, 64]
const [SETTLE, GAP, DEADLINE, AT_ONCE] = [300, 2, 20_000, 16]
const LETTERS = { down: 'D', up: 'U', request: 'R', ping: 'E', gap: 'E', hold: 'I', stall: 'D' } as const

let taken = 0
const now = () => performance.now() * 1000

function fill(socket: Socket): void {
  const more = () => {
    while (!socket.destroyed && socket.write(BYTES));
  }
  socket.on('drain', more)
  more()
}

function answer(socket: Socket): void {
  let letter = ''
  let unread = 0
  socket.on('error', () => {}).write(GREETING)
  socket.on('data', (chunk: Buffer) => {
    let size = chunk.length
    if (letter === '') {
      letter = String.fromCharCode(chunk[0] ?? 0)
      size--
      if (letter === 'D') fill(socket)
    }
    if (letter === 'U') taken += size
    if (letter === 'E' && size > 0) socket.write(BYTES.subarray(0, size))
    if (letter !== 'R') return
    unread += size
    for (; unread >= REQUEST; unread -= REQUEST) socket.write(BYTES.subarray(0, ANSWER))
  })
}

function serve(address: string): void {
  const server = createServer({ noDelay: true, allowHalfOpen: false }, answer)
  server.listen({ port: 0, host: address, backlog: 4096 }, () => console.log((server.address() as AddressInfo).port))
  createInterface(process.stdin)
    .on('line', () => console.log(JSON.stringify({ taken, at: now() })))
    .on('close', () => process.exit())
}

interface Stream {
  readonly socket: Socket
  /** µs to the first byte. */
  readonly took: number
  count: number
}

function greeted(host: string, port: number): Promise<Stream> {
  return new Promise((resolve, reject) => {
    const began = now()
    const socket = connect({ port, host, noDelay: true })
    const late = setTimeout(() => socket.destroy(new Error('nothing came')), DEADLINE)
    socket.once('data', () => {
      clearTimeout(late)
      socket.pause()
      resolve({ socket, took: now() - began, count: 0 })
    })
    socket.on('error', reject).once('close', () => {
      clearTimeout(late)
      reject(new Error('ended early'))
    })
  })
}

interface Work {
  readonly kind: string
  readonly host: string
  readonly port: number
  readonly seconds: number
  readonly parallel: number
}

async function comeAndGo({ host, port, seconds, parallel }: Work, samples: number[]): Promise<void> {
  const until = now() + seconds * 1e6
  const one = async () => {
    do {
      const { socket, took } = await greeted(host, port)
      samples.push(took)
      const closed = new Promise(resolve => socket.once('close', resolve))
      socket.end().resume()
      await closed
    } while (now() < until)
  }
  await Promise.all(Array.from({ length: parallel }, one))
}

/** Asks and is answered, for as long as `goes` says. */
function ask(stream: Stream, kind: string, samples: (us: number) => void): void {
  const { socket } = stream
  const [size, wanted] = kind === 'request' ? [REQUEST, ANSWER] : [PING, PING]
  let began = now()
  let due = wanted
  const send = () => {
    began = now()
    due = wanted
    if (!socket.destroyed) socket.write(BYTES.subarray(0, size))
  }
  socket.on('data', chunk => {
    due -= chunk.length
    if (due > 0) return
    samples(now() - began)
    if (kind === 'gap') setTimeout(send, GAP)
    else send()
  })
  send()
}

async function openAll({ host, port, parallel }: Work): Promise<Stream[]> {
  const streams: Stream[] = []
  const one = async () => {
    while (streams.length + opening < parallel) {
      opening++
      try {
        streams.push(await greeted(host, port))
      } finally {
        opening--
      }
    }
  }
  let opening = 0
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, parallel) }, one))
  return streams
}

async function keep(work: Work, samples: number[]): Promise<{ streams: Stream[]; seconds: number }> {
  const { kind, seconds } = work
  const streams = await openAll(work)
  let counting = false
  const broken = Promise.withResolvers<never>()
  for (const stream of streams) {
    const { socket } = stream
    socket.once('close', () => broken.reject(new Error('ended early')))
    socket.write(LETTERS[kind as keyof typeof LETTERS])
    if (kind === 'stall') continue
    if (kind === 'up') fill(socket)
    if (kind === 'request' || kind === 'ping' || kind === 'gap') ask(stream, kind, us => counting && samples.push(us))
    else socket.on('data', chunk => (stream.count += chunk.length))
    socket.resume()
  }
  try {
    if (kind !== 'hold' && kind !== 'stall')
      await Promise.race([broken.promise, sleep(Math.min(SETTLE, seconds * 1000))])
    for (const stream of streams) stream.count = 0
    counting = true
    console.log('begin')
    const began = now()
    await Promise.race([broken.promise, sleep(seconds * 1000)])
    return { streams, seconds: (now() - began) / 1e6 }
  } finally {
    broken.promise.catch(() => {})
    for (const { socket } of streams)
      socket
        .removeAllListeners('close')
        .on('error', () => {})
        .destroy()
  }
}

async function perform(work: Work): Promise<object> {
  const samples: number[] = []
  const began = now()
  let streams: Stream[] = []
  let seconds = work.seconds
  if (work.kind === 'connect' || work.kind === 'reach') {
    console.log('begin')
    await comeAndGo(work, samples)
    seconds = (now() - began) / 1e6
  } else ({ streams, seconds } = await keep(work, samples))
  samples.sort((a, b) => a - b)
  const counts = streams.map(one => one.count)
  const share = (part: number) => samples[Math.floor((samples.length - 1) * part)] ?? 0
  return {
    seconds,
    bytes: counts.reduce((sum, one) => sum + one, 0),
    least: Math.min(...counts, Number.MAX_SAFE_INTEGER),
    most: Math.max(...counts, 0),
    count: samples.length,
    p50: share(0.5),
    p99: share(0.99),
  }
}

async function drive(): Promise<void> {
  for await (const line of createInterface(process.stdin)) {
    const [kind = '', host = '', port, seconds, parallel] = line.split(' ')
    const work = { kind, host, port: Number(port), seconds: Number(seconds), parallel: Number(parallel) }
    const said = await perform(work).catch((error: Error) => ({ failed: error.message }))
    console.log(JSON.stringify(said))
  }
}

const [role, address = ''] = process.argv.slice(2)
if (role === 'serve') serve(address)
else await drive()
