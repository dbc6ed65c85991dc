import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { LIBRARY, WallClock } from '../world/clock.ts'
import { temporaryFolder } from '../world/folder.ts'
import { type JoinedWorld, startJoined } from '../world/joined.ts'
import { type Origin, startOrigin } from '../world/origin.ts'
import { Steady } from '../world/steady.ts'

/** Exit statuses of docs/errors.md. */
const [REJECTED, EXPIRED, DAEMON_UNTRUSTED] = [11, 12, 28]
const HOUR = 3600
/** Less than the minute by which clocks may differ. */
const LITTLE = 30
const APP = 'db.localhost'

describe.skipIf(LIBRARY === undefined)('row 148: clocks (needs: apt-get install faketime)', { timeout: 90_000 }, () => {
  const folder = temporaryFolder()
  const clocks = {
    edge: new WallClock(folder.path, 'edge'),
    daemon: new WallClock(folder.path, 'daemon'),
    client: new WallClock(folder.path, 'client'),
  }
  let origin: Origin
  let world: JoinedWorld
  let steady: Steady
  beforeAll(async () => {
    origin = await startOrigin(socket => socket.pipe(socket))
    const places = { edge: clocks.edge.place, daemon: clocks.daemon.place, client: clocks.client.place }
    world = await startJoined({ apps: { [APP]: { service: `tcp://127.0.0.1:${origin.port}` } }, places })
    steady = await Steady.at((await world.forward(APP)).port)
    await steady.goesOn()
  })
  afterAll(async () => {
    steady?.[Symbol.dispose]()
    await world?.[Symbol.asyncDispose]()
    await origin?.[Symbol.asyncDispose]()
    folder[Symbol.dispose]()
  })

  /** The exit status of somebody who comes now, 0 for who was served. */
  async function comes(): Promise<number> {
    const access = world.tcp(APP)
    access.child.stdin?.on('error', () => {}).end('hello')
    const code = await access.exit
    expect([access.stdout, code], access.stderr).toEqual([code === 0 ? 'hello' : '', code])
    return code
  }
  const put = async (whose: keyof typeof clocks, seconds: number) => {
    const before = world.daemon().stderr.length
    clocks[whose].put(seconds)
    await wait(1500) // the program looks again within a second
    await steady.goesOn()
    expect(world.daemon().stderr.slice(before)).not.toMatch(/ended|no connection/)
  }

  it.each([
    ['edge', HOUR],
    ['daemon', -HOUR],
  ] as const)(
    'the %s’s is put by %i s: what is open goes on, and who comes is refused, since a grant is good for a minute',
    async (whose, by) => {
      await put(whose, by)
      // A busy machine lets it look later.
      await expect.poll(comes, { timeout: 30_000, interval: 500 }).toBeOneOf([REJECTED, EXPIRED])
      await put(whose, 0)
      await expect.poll(comes, { timeout: 30_000, interval: 500 }).toBe(0)
    },
  )

  it('half a minute of difference is none, either way', async () => {
    for (const by of [LITTLE, -LITTLE]) {
      await put('daemon', by)
      expect(await comes()).toBe(0)
    }
    clocks.daemon.put(0)
  })

  it('a client’s own is its own business, unless the daemon’s certificate is not valid yet by it', async () => {
    clocks.client.put(HOUR)
    expect(await comes()).toBe(0)
    clocks.client.put(-HOUR)
    expect(await comes()).toBe(DAEMON_UNTRUSTED)
    clocks.client.put(0)
    expect(await comes()).toBe(0)
  })
})
