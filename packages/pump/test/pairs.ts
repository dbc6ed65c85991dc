// Two ends of a real connection, for each kind of duplex the pump meets.
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Duplex, duplexPair } from 'node:stream'

export interface Pair {
  /** What the pump is given. */
  readonly near: Duplex
  /** The other end, held by the test. */
  readonly far: Duplex
}

export async function tcpPair(): Promise<Pair & { near: Socket; far: Socket }> {
  return socketPair(server => server.listen(0, '127.0.0.1'))
}

export async function unixPair(): Promise<Pair> {
  const folder = await mkdtemp(join(tmpdir(), 'pump-'))
  try {
    return await socketPair(server => server.listen(join(folder, 's')))
  } finally {
    await rm(folder, { recursive: true })
  }
}

export async function memoryPair(): Promise<Pair> {
  const [near, far] = duplexPair()
  return { near, far }
}

async function socketPair(listen: (server: ReturnType<typeof createServer>) => void) {
  const server = createServer({ allowHalfOpen: true })
  listen(server)
  await once(server, 'listening')
  const address = server.address()
  const options =
    typeof address === 'string' ? { path: address } : { port: (address as { port: number }).port, host: '127.0.0.1' }
  const accepted = once(server, 'connection') as Promise<[Socket]>
  const far = connect({ ...options, allowHalfOpen: true })
  await once(far, 'connect')
  const [near] = await accepted
  server.close()
  return { near, far }
}

export async function readAll(stream: Duplex): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** How a stream ended for its reader. */
export function ending(stream: Duplex): Promise<'end' | 'cut'> {
  return new Promise(resolve => {
    stream.once('end', () => resolve('end'))
    stream.once('error', () => resolve('cut'))
    stream.once('close', () => resolve('cut'))
    stream.resume()
  })
}

/** Bytes whose every position is known. */
export function pattern(length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >> 8)) & 0xff
  return bytes
}
