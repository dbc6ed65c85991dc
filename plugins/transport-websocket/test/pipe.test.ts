import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Pipe } from '@postern/interface'
import { describe, expect, test } from 'vitest'
import { call, type Edge, pattern, readAll, startEdge, until } from './edge.ts'

async function connected(edge: Edge, more?: Parameters<Edge['request']>[0]): Promise<{ ours: Pipe; theirs: Pipe }> {
  const count = edge.pipes.length
  const { pipe } = await edge.transport.dial(edge.request(more), call())
  await until(() => edge.pipes.length > count)
  return { ours: pipe, theirs: edge.pipes[count]! }
}

describe.each([
  ['TLS', true],
  ['plain TCP', false],
] as const)('a pipe over %s', (_name, tls) => {
  test('carries bytes both ways at once', async () => {
    await using edge = await startEdge(undefined, { tls })
    const { ours, theirs } = await connected(edge)
    const bytes = pattern(8_000_000)
    const received = [readAll(ours), readAll(theirs)] as const
    for (const pipe of [ours, theirs]) {
      for (let start = 0; start < bytes.length; start += 100_000) {
        if (!pipe.write(bytes.subarray(start, start + 100_000))) await once(pipe, 'drain')
      }
    }
    ours.end()
    expect((await received[1]).equals(bytes)).toBe(true)
    theirs.end()
    // It ends as a whole: what the other end had sent before our close was answered arrived too.
    await received[0]
  })

  test('the caller’s bytes are not altered by masking', async () => {
    await using edge = await startEdge(undefined, { tls })
    const { ours, theirs } = await connected(edge)
    const bytes = pattern(70_000)
    ours.end(bytes)
    expect((await readAll(theirs)).equals(pattern(70_000))).toBe(true)
    expect(bytes.equals(pattern(70_000))).toBe(true)
    theirs.end()
    await readAll(ours)
  })

  test('end() flushes everything, then both ends end, finish and close', async () => {
    await using edge = await startEdge(undefined, { tls })
    const { ours, theirs } = await connected(edge)
    const closed = Promise.all([once(ours, 'close'), once(theirs, 'close')])
    theirs.end(pattern(3_000_000))
    ours.on('end', () => ours.end())
    theirs.resume()
    expect((await readAll(ours)).length).toBe(3_000_000)
    await closed
    await until(() => edge.sockets.size === 0)
  })

  test('destroy() is a cut: the other end gets what came, then STREAM_CUT, never an end', async () => {
    await using edge = await startEdge(undefined, { tls })
    for (const who of ['ours', 'theirs'] as const) {
      const pipes = await connected(edge)
      const other = who === 'ours' ? pipes.theirs : pipes.ours
      let ended = false
      other.on('end', () => {
        ended = true
      })
      other.resume()
      pipes[who].write('some')
      await once(other, 'data')
      const failed = once(other, 'error')
      pipes[who].destroy()
      expect((await failed)[0]).toMatchObject({ code: 'STREAM_CUT' })
      expect(ended).toBe(false)
    }
  })

  test('a reader that stops stops the writer; then every byte arrives', async () => {
    await using edge = await startEdge(undefined, { tls })
    const { ours, theirs } = await connected(edge)
    const piece = pattern(65_536)
    const total = 1000 * piece.length
    let written = 0
    const feed = async (): Promise<void> => {
      while (written < total) {
        written += piece.length
        if (!ours.write(piece)) await once(ours, 'drain')
      }
      ours.end()
    }
    const feeding = feed()
    for (let still = 0, last = -1; still < 5; still = last === written ? still + 1 : 0) {
      last = written
      await sleep(20)
    }
    expect(written).toBeLessThan(total / 2)
    expect(theirs.readableLength).toBeLessThan(2 * 1024 * 1024)
    let read = 0
    theirs.on('data', (chunk: Buffer) => {
      read += chunk.length
    })
    await Promise.all([feeding, once(theirs, 'end')])
    expect(read).toBe(total)
    theirs.end()
    ours.resume()
    await once(ours, 'close')
  })

  test('bytes and the end wait for a reader that comes late', async () => {
    await using edge = await startEdge(undefined, { tls })
    const { ours, theirs } = await connected(edge)
    ours.end('all of it')
    await sleep(50)
    expect((await readAll(theirs)).toString()).toBe('all of it')
    theirs.end()
    ours.resume()
    await once(ours, 'close')
  })

  test('ten thousand small writes arrive in order', async () => {
    await using edge = await startEdge(undefined, { tls })
    const { ours, theirs } = await connected(edge)
    const wanted = Array.from({ length: 10_000 }, (_, i) => `${i},`)
    for (const word of wanted) ours.write(word)
    ours.end()
    expect((await readAll(theirs)).toString()).toBe(wanted.join(''))
    theirs.end()
    await readAll(ours)
  })
})

describe('ends and cuts in every state', () => {
  test('after the other end’s close, writes are dropped and end() is clean', async () => {
    await using edge = await startEdge()
    const { ours, theirs } = await connected(edge)
    ours.end('bye')
    expect((await readAll(theirs)).toString()).toBe('bye')
    theirs.write('too late')
    theirs.end('and more')
    await once(theirs, 'close')
    expect(theirs.errored).toBe(null)
  })

  test('a cut after our own end, before the other end answered, is an error and not a finish', async () => {
    await using edge = await startEdge()
    const { ours, theirs } = await connected(edge)
    theirs.pause()
    const failed = once(ours, 'error')
    let finished = false
    ours.on('finish', () => {
      finished = true
    })
    ours.end(pattern(20_000_000))
    await sleep(20)
    theirs.destroy()
    expect((await failed)[0]).toMatchObject({ code: 'STREAM_CUT' })
    expect(finished).toBe(false)
  })

  test('a cut while bytes wait for a slow reader is a cut, not an end', async () => {
    await using edge = await startEdge()
    const { ours, theirs } = await connected(edge)
    ours.write(pattern(5_000_000))
    await until(() => theirs.readableLength > 0)
    ours.destroy()
    await expect(readAll(theirs)).rejects.toMatchObject({ code: 'STREAM_CUT' })
  })

  test('both ends end at once', async () => {
    await using edge = await startEdge()
    for (let i = 0; i < 20; i++) {
      const { ours, theirs } = await connected(edge)
      const closed = Promise.all([once(ours, 'close'), once(theirs, 'close')])
      ours.end('a')
      theirs.end('b')
      const [b, a] = await Promise.all([readAll(ours), readAll(theirs)])
      expect(`${a}${b}`).toBe('ab')
      await closed
    }
  })

  test('a slow reader that has ended itself loses nothing: the 5 s for the close wait for it', async () => {
    await using edge = await startEdge()
    const { ours, theirs } = await connected(edge)
    theirs.write(pattern(3_000_000))
    ours.end('done')
    theirs.resume()
    await once(theirs, 'end')
    theirs.end()
    await sleep(5500)
    const sink = new PassThrough()
    ours.pipe(sink)
    expect((await readAll(sink)).length).toBe(3_000_000)
  })

  test('an other end that is killed is a cut on every pipe, and leaves no socket', async () => {
    await using edge = await startEdge()
    const pipes: Awaited<ReturnType<typeof connected>>[] = []
    while (pipes.length < 20) pipes.push(await connected(edge))
    const failed = Promise.all(pipes.map(({ ours }) => once(ours.resume(), 'error')))
    for (const socket of edge.sockets) socket.resetAndDestroy()
    for (const { theirs } of pipes) theirs.on('error', () => {})
    for (const [error] of await failed) expect(error).toMatchObject({ code: 'STREAM_CUT' })
    await until(() => edge.sockets.size === 0)
  })

  test('one visitor’s cut leaves the others alone', async () => {
    await using edge = await startEdge()
    const [one, other] = [await connected(edge), await connected(edge)]
    one.theirs.on('error', () => {})
    one.ours.destroy()
    other.ours.end('still here')
    expect((await readAll(other.theirs)).toString()).toBe('still here')
  })
})
