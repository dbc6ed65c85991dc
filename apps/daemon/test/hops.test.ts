import { type Duplex, duplexPair } from 'node:stream'
import type { Identity, Problem } from '@postern/interface'
import { recordingLog } from '@postern/testkit'
import { Memory, type OfferedTunnelStream, pump } from '@postern/tunnel'
import { afterEach, describe, expect, it } from 'vitest'
import { FailureLog } from '../src/failure-log.ts'
import { Hops } from '../src/hops.ts'

const MIB = 2 ** 20
const open: Duplex[] = []
afterEach(() => {
  for (const stream of open) stream.on('error', () => {}).destroy()
  open.length = 0
})

function identity(subject: string): Identity {
  return { kind: 'user', issuer: 'https://id.example', subject, claims: {}, revokeKeys: [] }
}

/** Streams of the edge's, and a service that sends without end to readers that take nothing. */
class World {
  held = 0
  readonly log = recordingLog()
  readonly failures = new FailureLog(this.log)
  readonly stop = new AbortController()
  readonly #now = { ms: 0 }
  readonly hops = new Hops(
    new Memory(
      100,
      () => this.held,
      () => (this.#now.ms += 1000),
    ),
    this.failures,
  )

  /** @returns why it was refused, or bytes that wait for its reader */
  async stream(subject: string | undefined, hostname = 'db.example'): Promise<string | number> {
    const [[ours, reader], [service, far]] = [duplexPair(), duplexPair()]
    open.push(ours, reader, service, far)
    let refused: Problem | undefined
    const offered: OfferedTunnelStream = {
      header: { hostname, requestId: 'r-1', purpose: 'tcp', ...(subject && { identities: [identity(subject)] }) },
      gone: new AbortController().signal,
      accept: () => ours,
      reject: problem => {
        refused = problem
      },
    }
    void this.hops.take(offered, async placed => {
      const done = pump(placed.accept(), service, { signal: this.stop.signal })
      const feed = (): void => {
        while (!far.destroyed && far.write(Buffer.alloc(65_536)));
      }
      far.on('drain', feed)
      feed()
      await done
    })
    for (let n = 0; n < 200; n++) await new Promise(setImmediate)
    return refused?.code ?? ours.writableLength
  }
}

describe('row 134: what one visitor leaves unread at a daemon', () => {
  it('takes no room from another, of the same application or another one', async () => {
    const world = new World()
    for (let n = 0; n < 100; n++) await world.stream('ann')
    expect(await world.stream('ann')).toBeLessThan(MIB / 2)
    expect(await world.stream('bob')).toBeGreaterThan(MIB)
    expect(await world.stream(undefined)).toBeGreaterThan(MIB)
    expect(await world.stream('ann', 'wiki.example')).toBeLessThan(MIB / 2)
    world.stop.abort(new Error('enough'))
  })

  it('shuts out whoever it is first, and everybody when that does not help; what is open goes on', async () => {
    const world = new World()
    for (let n = 0; n < 9; n++) expect(await world.stream('ann')).toBeGreaterThan(MIB)
    world.held = 101
    expect(await world.stream('ann')).toBe('LIMIT_EXCEEDED')
    expect(await world.stream('bob')).toBeGreaterThan(MIB)
    world.held = 126
    expect(await world.stream('bob')).toBe('LIMIT_EXCEEDED')
    expect(world.log.text()).toContain('as much as it may for slow readers')
    world.held = 100
    expect(await world.stream('ann')).toBeGreaterThan(MIB)
    world.stop.abort(new Error('enough'))
    world.failures[Symbol.dispose]()
  })
})
