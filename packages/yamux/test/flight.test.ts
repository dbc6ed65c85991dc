import { afterEach, describe, expect, test, vi } from 'vitest'
import { Flight } from '../src/flight.ts'
import { ACK, DATA, PING, WINDOW_UPDATE } from '../src/frame.ts'
import type { YamuxStream } from '../src/index.ts'
import { RawPeer, turns } from './raw-peer.ts'

const KIB = 1024
const MIB = 1024 * KIB

/** A path that carries so many bytes a millisecond, and has a queue without end: what is sent arrives in order, its answers after them. */
class Path {
  readonly flight: Flight
  now = 0
  sent = 0
  delivered = 0
  /** Bytes that are in it, at the end of each millisecond. */
  readonly held: number[] = []
  /** Milliseconds by which answers come later, of a peer that has other things to do. */
  busy = 0
  readonly #rate: number
  readonly #roundTrip: number
  readonly #marks: { readonly id: number; readonly behind: number; due?: number }[] = []

  constructor(rate: number, roundTrip: number) {
    this.#rate = rate
    this.#roundTrip = roundTrip
    this.flight = new Flight(
      id => this.#marks.push({ id, behind: this.sent }),
      () => this.now,
    )
  }

  /** A sender with as much to send as may go, in frames of 64 KiB. */
  run(ms: number, each: () => void = () => {}): void {
    for (const end = this.now + ms; this.now < end; this.now++) {
      each()
      while (!this.flight.isFull) {
        this.sent += 64 * KIB
        this.flight.sends(64 * KIB)
      }
      this.delivered = Math.min(this.sent, this.delivered + this.#rate)
      for (const mark of this.#marks)
        if (mark.behind <= this.delivered) mark.due ??= this.now + this.#roundTrip + this.busy
      while ((this.#marks[0]?.due ?? Number.POSITIVE_INFINITY) <= this.now)
        this.flight.answered(this.#marks.shift()!.id)
      this.held.push(this.sent - this.delivered)
    }
  }
}

describe('what is on its way', () => {
  test('is a MiB on a short path, and 128 KiB of it while somebody else has a little to send, for five seconds', () => {
    const path = new Path(100 * KIB, 1)
    path.run(100)
    expect(path.flight.limit).toBe(MIB)
    path.flight.share()
    path.held.length = 0
    path.run(4000)
    expect(Math.max(...path.held.slice(20))).toBeLessThanOrEqual(256 * KIB + 64 * KIB)
    path.run(2000)
    expect(path.flight.limit).toBe(MIB)
    expect(path.delivered).toBeGreaterThan(0.95 * 6100 * 100 * KIB)
  })

  test('grows to what a long path takes, and is no queue without end', () => {
    const path = new Path(100 * KIB, 50) // 100 MB/s, 5 MB in a round trip
    path.run(1000)
    const before = path.delivered
    path.run(60_000)
    expect(path.delivered - before).toBeGreaterThan(0.95 * 60_000 * 100 * KIB)
    expect(Math.max(...path.held)).toBeLessThan(3 * 5 * MIB)
  })

  test('grows there also while others have a little to send all the time', () => {
    const path = new Path(100 * KIB, 50)
    path.run(2000, () => path.flight.share())
    const before = path.delivered
    path.run(20_000, () => path.flight.share())
    expect(path.delivered - before).toBeGreaterThan(0.95 * 20_000 * 100 * KIB)
  })

  test('is enough for 400 MB/s over 50 ms, also where the answers come later than on an empty path', () => {
    const path = new Path(400 * KIB, 50)
    path.run(3000)
    const before = path.delivered
    path.busy = 25
    path.run(30_000)
    expect(path.delivered - before).toBeGreaterThan(0.95 * 30_000 * 400 * KIB)
    expect(Math.max(...path.held.slice(3000))).toBeLessThan(3 * 400 * KIB * 75)
  })

  test('is never more than 64 MiB', () => {
    const path = new Path(10 * MIB, 100)
    path.run(3000)
    expect(path.flight.limit).toBe(64 * MIB)
  })

  test('is as much as before on a path that has become longer', () => {
    const flights = [5, 50].map(roundTrip => new Path(100 * KIB, roundTrip))
    const [short, long] = flights as [Path, Path]
    short.run(5000)
    expect(short.flight.limit).toBeLessThan(2 * MIB)
    long.run(5000)
    expect(long.flight.limit).toBeGreaterThan(5 * MIB)
  })

  test('marks that nobody answers are given up after ten seconds, and answers to nothing do nothing', () => {
    let now = 0
    const pings: number[] = []
    const flight = new Flight(
      id => pings.push(id),
      () => now,
    )
    while (!flight.isFull) flight.sends(64 * KIB)
    flight.answered(pings[0]! - 1)
    now = 9_999
    flight.giveUp()
    expect(flight.isFull).toBe(true)
    now = 10_000
    flight.giveUp()
    expect(flight.isFull).toBe(false)
    flight.answered(pings[0]!)
    expect(flight.isFull).toBe(false)
  })
})

describe('a session', () => {
  afterEach(() => void vi.useRealTimers())

  /** Streams of a session to a peer whose kernel and ours take whatever comes. */
  async function streams(count: number): Promise<{ peer: RawPeer; opened: YamuxStream[] }> {
    const peer = new RawPeer()
    const opened = Array.from({ length: count }, () => peer.session.open())
    for (const { id } of opened) peer.frame(WINDOW_UPDATE, ACK, id, 1000 * MIB)
    await turns()
    return { peer, opened }
  }

  test('sends a message before more than a MiB of others that send much, however much the kernel would take', async () => {
    const { peer, opened } = await streams(9)
    peer.answering = false
    const [small, ...bulk] = opened as [YamuxStream, ...YamuxStream[]]
    for (const stream of bulk) stream.write(Buffer.alloc(8 * MIB))
    await turns(5)
    expect(peer.payloadBytes).toBeLessThanOrEqual(MIB)
    const before = peer.seen.length
    small.write('hello')
    await turns()
    expect(peer.seen.slice(before).filter(({ type }) => type === DATA)).toEqual([
      { type: DATA, flags: 0, id: small.id, length: 5 },
    ])
    peer.session.destroy()
  })

  test('goes on as the peer answers, to the last byte', async () => {
    const { peer, opened } = await streams(4)
    for (const stream of opened) stream.end(Buffer.alloc(5_000_000))
    await expect.poll(() => peer.payloadBytes, { timeout: 10_000 }).toBe(20_000_000)
    peer.session.destroy()
  })

  test('goes on with a peer that answers no ping', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
    const { peer, opened } = await streams(1)
    peer.answering = false
    opened[0]!.write(Buffer.alloc(5 * MIB))
    await turns()
    expect(peer.payloadBytes).toBe(MIB)
    for (let n = 0; n < 12; n++) {
      vi.advanceTimersByTime(10_000)
      await turns()
    }
    expect(peer.payloadBytes).toBe(5 * MIB)
    peer.session.destroy()
    expect(vi.getTimerCount()).toBe(0)
  })

  test('that sends little sends no marks', async () => {
    const { peer, opened } = await streams(3)
    for (const stream of opened) for (let n = 0; n < 20; n++) stream.write(Buffer.alloc(200))
    await turns()
    expect(peer.seen.filter(({ type }) => type === PING)).toEqual([])
    peer.session.destroy()
  })
})
