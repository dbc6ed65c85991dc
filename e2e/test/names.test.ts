import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WITHOUT_NAMESPACES } from '../world/namespaces.ts'
import type { Running } from '../world/program.ts'
import { ADDRESS, namesAt, startWeathered, type Weathered } from '../world/weathered.ts'

/** Nobody has this address: what is sent there is never heard of again. */
const DEAD = '10.90.0.9'
const DEAD6 = 'fd00:90::9'
const ELSEWHERE = '10.90.0.4'
/** Exit status of docs/errors.md. */
const EDGE_UNREACHABLE = 21
/** Milliseconds. An address that says nothing is waited for ten seconds where there is no other. */
const SOON = 5000

describe.skipIf(WITHOUT_NAMESPACES !== undefined)(
  `row 158: the edge’s addresses (${WITHOUT_NAMESPACES ?? 'as root'})`,
  { timeout: 90_000 },
  () => {
    let weathered: Weathered
    let alone: Running
    beforeAll(async () => {
      weathered = await startWeathered(158)
      // It takes ten seconds, beside everything below.
      const lonely = await weathered.network.machine('10.90.0.5')
      lonely.names(namesAt(DEAD))
      alone = weathered.world.tcp('db.postern.test', [], lonely.place)
      weathered.machines.client.run('ip', 'addr', 'add', 'fd00:90::3/64', 'dev', 'tun0', 'nodad')
    })
    afterAll(() => weathered?.[Symbol.asyncDispose]())

    /** Milliseconds until somebody is served, with these addresses for the edge. */
    async function served(...addresses: readonly string[]): Promise<number> {
      weathered.machines.client.names(namesAt(...addresses))
      const began = performance.now()
      using visitor = weathered.visit('end-to-end')
      await visitor.goesOn(1000)
      return performance.now() - began
    }

    it('one that is dead is passed over, wherever it stands among others', async () => {
      const usual = await served(ADDRESS)
      expect((await served(DEAD, ADDRESS)) - usual).toBeLessThan(SOON)
      expect((await served(ADDRESS, DEAD)) - usual).toBeLessThan(SOON)
    })

    it('IPv6 that swallows everything, and IPv6 that is none', async () => {
      const usual = await served(ADDRESS)
      expect((await served(DEAD6, ADDRESS)) - usual).toBeLessThan(SOON)
      expect((await served('2001:db8::1', ADDRESS)) - usual).toBeLessThan(SOON)
    })

    it('one that is far away is not given up for one that is dead', async () => {
      // Farther than the head start of an address: 250 ms.
      weathered.network.weather = { delay: 160 }
      await served(ADDRESS, DEAD)
      weathered.network.weather = {}
    })

    it('another from now on: the daemon finds the edge there, and so does who was there before', async () => {
      const { machines, network, world } = weathered
      const elsewhere = await network.machine(ELSEWHERE)
      await world.edge.stop('SIGKILL')
      for (const one of [machines.daemon, machines.client]) one.names(namesAt(ELSEWHERE))
      const before = world.daemon().stderr.length
      await world.startEdge(elsewhere.place)
      await expect.poll(() => world.daemon().stderr.slice(before), { timeout: 60_000 }).toMatch(/connected to the edge/)
      using visitor = weathered.visit('end-to-end')
      await visitor.goesOn(1000)
    })

    it('the twin: one that is dead, and no other, is said to be', async () => {
      expect(await alone.exit).toBe(EDGE_UNREACHABLE)
    })
  },
)
