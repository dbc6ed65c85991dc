import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { Agent, request as ask, type RequestOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { type Running, start } from '../world/program.ts'
import { startWorld } from '../world/world.ts'

/** security.md row 63: bodies of gigabytes go both ways through an HTTP application, every byte, and no program grows by 64 MiB. */
export const stated = { gibibytes: 10 }

const CHUNK = 1024 * 1024
const MOST_GROWTH = 64

export default async function (size: { readonly gibibytes: number }): Promise<Record<string, number>> {
  const total = Math.round(size.gibibytes * 1024)
  const origin = createServer((request, response) => void serve(request, response, total))
  await new Promise<void>(resolve => origin.listen(0, '127.0.0.1', resolve))
  const { port } = origin.address() as AddressInfo
  await using world = await startWorld({ hostname: 'app.localhost', service: `http://127.0.0.1:${port}` })
  await speakHttp(world.folder)
  const [id = '', secretFile = ''] = [world.credential[1], world.credential[3]]
  const agent = new Agent({ keepAlive: true, ca: readFileSync(world.trust[1] ?? ''), servername: 'app.localhost' })
  const headers = {
    host: world.address,
    'postern-client-id': id,
    'postern-client-secret': readFileSync(secretFile, 'utf8'),
  }
  const at = { agent, headers, host: '127.0.0.1', port: world.port }
  // Warm first: what a program takes to begin with is no growth.
  await down({ ...at, path: '/down?16' }, 16)
  const programs: Readonly<Record<string, Running>> = { edge: world.edge, daemon: world.daemon }
  const before = Object.entries(programs).map(([name, program]) => [name, program, residentMiB(program)] as const)
  const most: Record<string, number> = {}
  const look = setInterval(() => {
    for (const [name, program, start] of before) {
      most[`${name} grew MiB`] = Math.max(most[`${name} grew MiB`] ?? 0, Math.round(residentMiB(program) - start))
    }
  }, 250)
  const began = performance.now()
  await down({ ...at, path: `/down?${total}` }, total)
  const between = performance.now()
  await up({ ...at, path: '/up', method: 'POST' }, total)
  const over = performance.now()
  clearInterval(look)
  agent.destroy()
  origin.closeAllConnections()
  origin.close()
  for (const [name, grown] of Object.entries(most)) if (grown > MOST_GROWTH) throw new Error(`${name}: ${grown}`)
  const perSecond = (milliseconds: number) => Math.round((total * 1000) / milliseconds)
  return { ...most, 'MiB/s down': perSecond(between - began), 'MiB/s up': perSecond(over - between) }
}

/** The application a new edge is seeded with speaks TCP. */
async function speakHttp(folder: string): Promise<void> {
  const socket = join(folder, 'edge', 'admin.sock')
  const changed = start('postern', [
    'admin',
    'app',
    'update',
    'app.localhost',
    '--protocol',
    'http',
    '--socket',
    socket,
  ])
  if ((await changed.exit) !== 0) throw new Error(changed.stderr)
}

/** `/down?N`: N MiB, then nothing; the sum in a trailer. `/up`: the sum of what comes. */
async function serve(request: IncomingMessage, response: ServerResponse, total: number): Promise<void> {
  if (request.url === '/up') {
    response.end(await sumOf(request))
    return
  }
  const sum = createHash('sha256')
  response.writeHead(200, { trailer: 'x-sum' })
  for (const chunk of chunks(Math.min(total, Number(request.url?.split('?')[1])))) {
    sum.update(chunk)
    if (!response.write(chunk)) await new Promise(resolve => response.once('drain', resolve))
  }
  response.addTrailers({ 'x-sum': sum.digest('hex') })
  response.end()
}

function* chunks(count: number): Generator<Buffer> {
  for (let n = 0; n < count; n += 1) {
    const chunk = Buffer.alloc(CHUNK)
    chunk.writeUInt32BE(n)
    yield chunk
  }
}

async function sumOf(stream: Readable): Promise<string> {
  const sum = createHash('sha256')
  for await (const chunk of stream as AsyncIterable<Buffer>) sum.update(chunk)
  return sum.digest('hex')
}

function answerTo(options: RequestOptions, body?: Readable): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const asked = ask(options)
    asked.once('response', resolve).once('error', reject)
    if (body === undefined) asked.end()
    else body.pipe(asked)
  })
}

async function down(options: RequestOptions, mebibytes: number): Promise<void> {
  const answer = await answerTo(options)
  let bytes = 0
  const sum = createHash('sha256')
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    bytes += chunk.length
    sum.update(chunk)
  }
  if (answer.statusCode !== 200 || bytes !== mebibytes * CHUNK || sum.digest('hex') !== answer.trailers['x-sum'])
    throw new Error(`wrong bytes down: ${answer.statusCode}, ${bytes}`)
}

async function up(options: RequestOptions, mebibytes: number): Promise<void> {
  const sum = createHash('sha256')
  const body = Readable.from(
    (function* () {
      for (const chunk of chunks(mebibytes)) {
        sum.update(chunk)
        yield chunk
      }
    })(),
    { objectMode: false, highWaterMark: CHUNK },
  )
  const answer = await answerTo(options, body)
  let told = ''
  for await (const chunk of answer) told += chunk
  if (told !== sum.digest('hex')) throw new Error(`wrong bytes up: ${answer.statusCode} ${told.slice(0, 200)}`)
}

function residentMiB({ child }: Running): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]) / 1024
}
