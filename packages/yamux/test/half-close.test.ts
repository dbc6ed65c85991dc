import { content, matches } from '@postern/compliance/random'
import { describe, expect, test } from 'vitest'
import { type YamuxError, YamuxSession, type YamuxStream } from '../src/index.ts'
import { type PipeEnd, pipePair } from './pipe.ts'
import { turns } from './raw-peer.ts'

interface Ends {
  readonly near: YamuxSession
  readonly far: YamuxSession
  readonly nearPipe: PipeEnd
  readonly farPipe: PipeEnd
  /** The stream under test, at our end and at the peer's. */
  readonly stream: YamuxStream
  readonly peer: YamuxStream
}

async function connect(): Promise<Ends> {
  const [nearPipe, farPipe] = pipePair()
  const { promise, resolve } = Promise.withResolvers<YamuxStream>()
  const far = new YamuxSession(farPipe, { role: 'server', onStream: resolve })
  const near = new YamuxSession(nearPipe, { role: 'client' })
  const stream = near.open()
  return { near, far, nearPipe, farPipe, stream, peer: await promise }
}

/** What the reader of a stream saw: 'clean' with every byte, 'cut', or 'nothing' yet. */
class Reader {
  received = 0
  ended = false
  closed = false
  error: YamuxError | undefined
  readonly #total: number

  constructor(stream: YamuxStream, key: number, total: number) {
    this.#total = total
    stream.on('data', (chunk: Buffer) => {
      expect(matches(key, this.received, chunk)).toBe(true)
      this.received += chunk.length
    })
    stream.on('end', () => {
      this.ended = true
    })
    stream.on('error', (error: YamuxError) => {
      this.error = error
    })
    stream.on('close', () => {
      this.closed = true
    })
  }

  get saw(): string {
    if (this.ended) return this.received === this.#total ? 'clean' : 'a clean end without every byte'
    return this.closed ? 'cut' : 'nothing'
  }
}

function write(stream: YamuxStream, key: number, bytes: number): void {
  for (let at = 0; at < bytes; at += 50_000) stream.write(content(key, at, Math.min(50_000, bytes - at)))
}

const sizes = { idle: 0, small: 1000, big: 3_000_000 }
const states = ['open', 'peer finished', 'we finished'] as const
const acts = ['end', 'destroy', 'session destroy', 'session end', 'pipe end', 'pipe destroy'] as const

/**
 * We act on our end of a stream on which both sides wrote `bytes` (big is more than the window: some of it is still with the writer).
 * A finished side's bytes had all arrived. Expected: what the peer's reader sees.
 */
function expected(state: (typeof states)[number], act: (typeof acts)[number]): string {
  if (state === 'we finished') return 'clean' // FIN was there before the act
  return act === 'end' ? 'clean' : 'cut'
}

describe('half-close: what the peer reads', () => {
  const matrix = Object.keys(sizes).flatMap(size =>
    states.flatMap(state => acts.map(act => [size, state, act] as const)),
  )

  test.each(matrix)('%s, %s, %s', async (size, state, act) => {
    const ends = await connect()
    const { stream, peer } = ends
    const bytes = sizes[size as keyof typeof sizes]
    const ours = new Reader(stream, 1, bytes)
    const theirs = new Reader(peer, 2, bytes)
    write(stream, 2, bytes)
    write(peer, 1, bytes)
    if (state === 'peer finished') peer.end()
    if (state === 'we finished') stream.end()
    await turns(state === 'open' ? 4 : 200)
    if (state === 'peer finished') expect(ours.saw).toBe('clean')
    if (state === 'we finished') expect(theirs.saw).toBe('clean')

    if (act === 'end') stream.end()
    else if (act === 'destroy') stream.destroy()
    else if (act === 'session destroy') ends.near.destroy()
    else if (act === 'session end') void ends.near.end()
    else if (act === 'pipe end') ends.nearPipe.end()
    else ends.nearPipe.destroy()
    await turns(200)

    expect(theirs.saw).toBe(expected(state, act))
    if (act === 'end') {
      expect(peer.destroyed).toBe(state === 'peer finished')
      if (state === 'open') expect(ours.received).toBe(bytes)
      return ends.near.destroy()
    }
    expect(peer.destroyed).toBe(true)
    expect(ours.saw).toBe(state === 'peer finished' ? 'clean' : 'cut')
    expect(theirs.error).toMatchObject({
      code: act === 'destroy' || act === 'session end' ? 'STREAM_RESET' : 'PIPE_LOST',
    })
    if (act !== 'destroy') expect((await ends.near.closed).clean).toBe(false)
    // After our end() the peer's session closed cleanly: its streams were reset one by one before.
    if (act !== 'destroy') expect((await ends.far.closed).clean).toBe(act === 'session end')
    ends.near.destroy()
  })

  test('both finish at once: both read everything and the clean end, nothing is reset', async () => {
    const { stream, peer, near, far } = await connect()
    const ours = new Reader(stream, 1, 700_000)
    const theirs = new Reader(peer, 2, 700_000)
    write(stream, 2, 700_000)
    write(peer, 1, 700_000)
    stream.end()
    peer.end()
    await turns(100)
    expect([ours.saw, theirs.saw, ours.error, theirs.error]).toEqual(['clean', 'clean', undefined, undefined])
    expect([near.streams, far.streams]).toEqual([0, 0])
    near.destroy()
  })

  test.each(['near', 'far'] as const)('after FIN from the %s side the other goes on with 10 MB', async who => {
    const ends = await connect()
    const [closing, going] = who === 'near' ? [ends.stream, ends.peer] : [ends.peer, ends.stream]
    const reader = new Reader(closing, 1, 10_000_000)
    const other = new Reader(going, 2, 0)
    closing.end()
    await turns()
    expect(other.saw).toBe('clean')
    write(going, 1, 10_000_000)
    going.end()
    await turns(1500)
    expect(reader.saw).toBe('clean')
    expect([ends.near.streams, ends.far.streams]).toEqual([0, 0])
    ends.near.destroy()
  })
})

describe('bytes that arrived before a cut', () => {
  const cuts: [string, (ends: Ends) => void][] = [
    ['peer resets', ends => ends.peer.reset()],
    ['peer session destroyed', ends => ends.far.destroy()],
    ['pipe ended', ends => ends.farPipe.end()],
    ['pipe destroyed', ends => ends.farPipe.destroy()],
  ]

  test.each(cuts)('%s: behind FIN they are read to the clean end, then the error', async (_name, cut) => {
    const ends = await connect()
    write(ends.peer, 1, 500_000)
    ends.peer.end()
    await turns(30)
    cut(ends)
    await turns(10)
    expect(ends.stream.destroyed).toBe(false)
    const reader = new Reader(ends.stream, 1, 500_000)
    await turns(10)
    expect(reader.saw).toBe('clean')
    expect(reader.error).toBeDefined()
    expect(ends.near.streams).toBe(0)
    ends.near.destroy()
  })

  test.each(cuts)('%s: without FIN it is a cut at once', async (_name, cut) => {
    const ends = await connect()
    write(ends.peer, 1, 200_000)
    await turns(30)
    cut(ends)
    await turns(10)
    const reader = new Reader(ends.stream, 1, 200_000)
    await turns(2)
    expect(ends.stream.destroyed).toBe(true)
    expect(reader.ended).toBe(false)
    ends.near.destroy()
  })

  test.each(cuts)('%s: writing to what is cut fails at once', async (_name, cut) => {
    const ends = await connect()
    write(ends.peer, 1, 500_000)
    ends.peer.end()
    await turns(30)
    cut(ends)
    await turns(10)
    const { promise, resolve } = Promise.withResolvers<unknown>()
    ends.stream.write('more', resolve)
    expect(await promise).toHaveProperty('code')
    await turns()
    expect(ends.stream.destroyed).toBe(true)
    ends.near.destroy()
  })

  test('a stream finished on both sides is read whole after its session was destroyed at either end', async () => {
    for (const who of ['near', 'far'] as const) {
      const ends = await connect()
      ends.stream.end()
      ends.peer.resume()
      write(ends.peer, 1, 900_000)
      ends.peer.end()
      await turns(50)
      ends[who].destroy()
      await turns(10)
      expect(ends.near.streams).toBe(1) // held until it is read
      const reader = new Reader(ends.stream, 1, 900_000)
      await turns(10)
      expect([reader.saw, reader.error, ends.near.streams]).toEqual(['clean', undefined, 0])
    }
  })

  test('our own session.destroy cuts a stream we had not finished, whatever had arrived', async () => {
    const ends = await connect()
    write(ends.peer, 1, 1000)
    ends.peer.end()
    await turns(10)
    ends.near.destroy()
    expect(ends.stream.destroyed).toBe(true)
    const reader = new Reader(ends.stream, 1, 1000)
    await turns(3)
    expect(reader.ended).toBe(false)
  })
})
