import { afterEach, describe, expect, test, vi } from 'vitest'
import { ACK, DATA, PING, SYN, WINDOW_UPDATE } from '../src/frame.ts'
import { Growth } from '../src/growth.ts'
import type { YamuxStream } from '../src/index.ts'
import { RawPeer, turns } from './raw-peer.ts'

const KIB = 1024
const MIB = 1024 * KIB

function growthOn(roundTrip: number, maxWindow = 8 * MIB): Growth {
  return new Growth({ maxWindow }, { least: roundTrip }, () => {})
}

describe('a window', () => {
  test('doubles where half of it was taken within three round trips, up to the most; not later, and not on a short path', () => {
    const growth = growthOn(50)
    expect(growth.take(MIB, 151)).toBe(0)
    expect(growth.take(MIB, 150)).toBe(MIB)
    expect(growth.take(2 * MIB, 100)).toBe(2 * MIB)
    expect(growth.take(6 * MIB, 100)).toBe(2 * MIB)
    expect(growth.take(8 * MIB, 100)).toBe(0)
    expect(growthOn(3).take(MIB, 1)).toBe(0)
    expect(growthOn(Number.POSITIVE_INFINITY).take(MIB, 1)).toBe(0)
    growth.giveBack(5 * MIB)
  })

  test('grows while its session’s and its process’s have grown by less than 16 and 64 MiB, and again when others are gone', () => {
    const sessions = Array.from({ length: 5 }, () => growthOn(50))
    const taken = sessions.map(growth => {
      let sum = 0
      for (let stream = 0; stream < 20; stream++) sum += growth.take(MIB, 0)
      return sum
    })
    expect(taken).toEqual([16, 16, 16, 16, 0].map(size => size * MIB))
    sessions[0]!.giveBack(MIB)
    expect(sessions[1]!.take(MIB, 0)).toBe(0)
    expect(sessions[4]!.take(MIB, 0)).toBe(MIB)
    for (const [n, growth] of sessions.entries()) growth.giveBack([15, 16, 16, 16, 1][n]! * MIB)
  })
})

test('windows of one owner grow by 8 MiB in all sessions together, so that who has many leaves room to others', () => {
  const [one, two] = [growthOn(50), growthOn(50)]
  const [hog, other] = [{}, {}]
  const all = (growth: Growth, owner: object) => {
    let sum = 0
    for (let stream = 0; stream < 20; stream++) sum += growth.take(MIB, 0, owner)
    return sum
  }
  expect([all(one, hog), all(two, hog)]).toEqual([8 * MIB, 0])
  expect(all(one, other)).toBe(8 * MIB)
  one.giveBack(MIB, hog)
  expect(all(two, hog)).toBe(MIB)
  one.giveBack(7 * MIB, hog)
  two.giveBack(MIB, hog)
  one.giveBack(8 * MIB, other)
})

describe('in a session', () => {
  let now = 0
  afterEach(() => void vi.restoreAllMocks())

  /** A peer whose answers to pings take so long, and which sends half a window every ten milliseconds. @returns the window updates */
  async function updates(roundTrip: number, owner?: object): Promise<number[]> {
    vi.spyOn(performance, 'now').mockImplementation(() => now)
    let stream: YamuxStream | undefined
    const peer = new RawPeer({ onStream: offered => (stream = offered).accept() })
    peer.answering = false
    peer.frame(WINDOW_UPDATE, SYN, 1, 0)
    await turns()
    if (owner !== undefined) stream!.ownedBy(owner)
    stream!.resume()
    peer.frame(DATA, 0, 1, 256 * KIB, Buffer.alloc(256 * KIB))
    await turns()
    now += roundTrip
    const ping = peer.seen.find(frame => frame.type === PING && frame.flags === SYN)
    peer.frame(PING, ACK, 0, ping!.length)
    for (let n = 0; n < 3; n++) {
      now += 10
      peer.frame(DATA, 0, 1, 512 * KIB, Buffer.alloc(512 * KIB))
      await turns()
    }
    peer.session.destroy()
    await peer.session.closed
    return peer.seen.filter(frame => frame.type === WINDOW_UPDATE && frame.flags === 0).map(frame => frame.length)
  }

  test('far away, the reader’s window is given back with more; nearby with no more', async () => {
    const far = await updates(50)
    expect(far[1]! + far[0]!).toBeGreaterThan(1792 * KIB)
    expect(await updates(1)).toEqual([768 * KIB, 512 * KIB, 512 * KIB])
  })

  test('far away, with no more where its owner’s have grown enough elsewhere; and again when those are gone', async () => {
    const [elsewhere, owner] = [growthOn(50), {}]
    for (let stream = 0; stream < 8; stream++) elsewhere.take(MIB, 0, owner)
    expect(await updates(50, owner)).toEqual([768 * KIB, 512 * KIB, 512 * KIB])
    elsewhere.giveBack(8 * MIB, owner)
    const far = await updates(50, owner)
    expect(far[1]! + far[0]!).toBeGreaterThan(1792 * KIB)
    // What it grew by was given back with it.
    for (let stream = 0; stream < 8; stream++) expect(elsewhere.take(MIB, 0, owner)).toBe(MIB)
    elsewhere.giveBack(8 * MIB, owner)
  })
})
