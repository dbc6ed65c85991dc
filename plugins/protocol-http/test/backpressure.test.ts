// Row 143: who does not read holds the other end back; nothing gathers here.

import { once } from 'node:events'
import { createServer } from 'node:http'
import type { Writable } from 'node:stream'
import { expect, it } from 'vitest'
import { at, Rig, rule } from './rig.ts'

const PIECE = Buffer.alloc(64 * 1024, 'x')
/** What the kernel’s and Node’s buffers of two hops may take. */
const MOST = 32 * 1024 * 1024

/** Writes until nothing is taken for a second. @returns bytes */
async function fill(to: Writable): Promise<number> {
  let written = 0
  for (;;) {
    written += PIECE.length
    if (written > 2 * MOST) return written
    if (to.write(PIECE)) continue
    const drained = once(to, 'drain').then(() => true)
    drained.catch(() => {})
    if (!(await Promise.race([drained, new Promise(resolve => setTimeout(resolve, 1000))]))) return written
  }
}

it('a visitor who does not read holds the service back', async () => {
  const filled = Promise.withResolvers<number>()
  const server = createServer((_request, response) => void fill(response).then(filled.resolve)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  await using rig = new Rig(rule(at(server)))
  const { stream } = await rig.open()
  stream.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  expect(await filled.promise).toBeLessThan(MOST)
  server.close()
  server.closeAllConnections()
})

it('a service that does not read holds the visitor back', async () => {
  const server = createServer(() => {}).listen(0, '127.0.0.1')
  await once(server, 'listening')
  await using rig = new Rig(rule(at(server)))
  const { stream } = await rig.open()
  stream.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n')
  expect(await fill(stream)).toBeLessThan(MOST)
  server.close()
  server.closeAllConnections()
})
