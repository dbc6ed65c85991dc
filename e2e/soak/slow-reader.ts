import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { startOrigin } from '../world/origin.ts'
import type { Running } from '../world/program.ts'
import { startWorld } from '../world/world.ts'

/**
 * security.md row 143: a reader stops for minutes while the service has gigabytes to send; no program grows, another stream is
 * unaffected, and when the reader goes on every byte arrives.
 */
export const stated = { gibibytes: 10, stopSeconds: 300 }

const CHUNK = Buffer.alloc(1024 * 1024)

export default async function (size: {
  readonly gibibytes: number
  readonly stopSeconds: number
}): Promise<Record<string, number | string>> {
  const total = Math.round(size.gibibytes * 1024)
  await using origin = await startOrigin(socket => {
    let left = total
    const sum = createHash('sha256')
    const more = () => {
      for (; left > 0; left--) {
        CHUNK.writeUInt32BE(left)
        sum.update(CHUNK)
        if (!socket.write(Buffer.from(CHUNK))) {
          left--
          return
        }
      }
      socket.end(sum.digest())
    }
    socket.on('drain', more)
    socket.once('data', more)
  })
  await using world = await startWorld({ hostname: 'db.localhost', service: `tcp://127.0.0.1:${origin.port}` })
  const listener = world.access('tcp', ['--url', 'localhost:0', '--json'])
  const port = Number((await listener.says(/"address":"127\.0\.0\.1:(\d+)"/))[1])
  const programs: Readonly<Record<string, Running>> = { edge: world.edge, daemon: world.daemon, client: listener }
  const socket = connect(port, '127.0.0.1')
  socket.write('go')
  await new Promise(resolve => socket.once('readable', resolve))
  const before = Object.fromEntries(Object.entries(programs).map(([name, program]) => [name, residentMiB(program)]))
  const most: Record<string, number> = { ...before }
  const until = Date.now() + size.stopSeconds * 1000
  while (Date.now() < until) {
    await sleep(500)
    for (const [name, program] of Object.entries(programs)) most[name] = Math.max(most[name] ?? 0, residentMiB(program))
  }
  const grown = Object.fromEntries(
    Object.entries(most).map(([name, mebibytes]) => [
      `${name} grew MiB`,
      Math.round((mebibytes - (before[name] ?? 0)) * 10) / 10,
    ]),
  )
  for (const [name, mebibytes] of Object.entries(grown)) if (mebibytes > 32) throw new Error(`${name}: ${mebibytes}`)
  const began = Date.now()
  const bytes = await readWhole(socket, total)
  await listener.stop('SIGINT')
  return {
    ...grown,
    'bytes after the stop': bytes,
    'MiB/s after the stop': Math.round(total / ((Date.now() - began) / 1000)),
  }
}

/** Reads to the end; the last 32 bytes are the sum of all before. */
async function readWhole(socket: ReturnType<typeof connect>, mebibytes: number): Promise<number> {
  const sum = createHash('sha256')
  let [bytes, tail] = [0, Buffer.alloc(0)]
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    bytes += chunk.length
    const all = Buffer.concat([tail, chunk])
    const keep = Math.max(0, all.length - 32)
    sum.update(all.subarray(0, keep))
    tail = all.subarray(keep)
  }
  if (bytes !== mebibytes * 1024 * 1024 + 32 || !sum.digest().equals(tail)) throw new Error(`wrong bytes: ${bytes}`)
  return bytes
}

function residentMiB({ child }: Running): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]) / 1024
}
