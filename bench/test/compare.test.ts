import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { presentPeers } from '../../scripts/peers.mjs'
import { compare } from '../measure/command.ts'
import { NAMES } from '../measure/metrics.ts'
import { drawPicture } from '../measure/picture.ts'
import { type Options, runWhole } from '../measure/whole.ts'
import { makeNetwork, networkMissing } from '../network/namespaces.ts'
import { isPostern, NOTHING } from '../peers/all.ts'
import { pidsOf } from '../processes.ts'

const present = presentPeers()
const ready = ['ssh', 'sshd'].every(name => present.includes(name)) && process.platform === 'linux'
// Temporary folders go here: another run on this machine does not count.
const scratch = mkdtempSync(join(tmpdir(), 'postern-bench-test-'))
process.env.TMPDIR = scratch
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const tiny: Options = {
  bench: 'quick',
  rounds: 1,
  sizes: { seconds: 0.06, starts: 1, held: 50, streams: 10 },
  metrics: new Set(NAMES),
  patience: 0,
  wants: () => true,
  network: { rounds: 0, seconds: 0, wants: () => true },
  say: () => {},
  signal: new AbortController().signal,
}

describe.skipIf(!ready)(
  'everything, at a tiny size (needs: apt-get install openssh-server openssh-client, Linux)',
  () => {
    it('finds a number for every figure of whoever is here, and leaves nothing behind', async () => {
      const started = new Set<number>()
      const wants = (peer: string) =>
        peer === 'end-to-end/websocket' || (!peer.includes('/') && peer !== 'ssh-aes128-gcm')
      const seen = (pids: readonly number[]) => void pidsOf(pids).forEach(pid => void started.add(pid))
      const result = await runWhole({ ...tiny, wants, seen })

      expect(result.failed).toEqual({})
      const peers = ['end-to-end/websocket', 'ssh', NOTHING]
      if (present.includes('haproxy')) peers.push('haproxy')
      if (present.includes('nginx') && present.includes('nginx-stream')) peers.push('nginx')
      if (present.includes('go') && present.includes('go-yamux')) peers.push('go-yamux')
      expect(Object.keys(result.medians)).toEqual(expect.arrayContaining(peers))
      const own: readonly string[] = ['cpu', 'idle', 'rss', 'pss', 'start']
      const commands = /^(end-to-end|ssh)/
      for (const peer of peers)
        for (const metric of NAMES) {
          const one = result.medians[peer]?.[metric]
          const isTold = peer === NOTHING ? !own.includes(metric) : metric !== 'start' || commands.test(peer)
          expect(one !== undefined, `${peer} ${metric}`).toBe(isTold)
          if (!one || metric === 'idle') continue
          expect(one.min, `${peer} ${metric}`).toBeGreaterThanOrEqual(0)
          expect(one.max).toBeGreaterThanOrEqual(one.median)
        }
      expect(result.ratios['end-to-end/websocket']?.ssh?.down?.median).toBeGreaterThan(0)
      expect(result.targets.filter(one => one.against === 'ssh' && one.verdict === 'not measured')).toEqual([])
      expect(drawPicture(result)).toContain('>Postern</text>')
      expect([...result.missing, ...Object.keys(result.peers).map(name => ({ name }))].map(one => one.name)).toEqual(
        expect.arrayContaining(['chisel', 'frp', 'wstunnel', 'rathole', 'haproxy', 'nginx', 'go-yamux']),
      )
      await leftNothing(started)
    })

    it('carries bytes by every transport in both modes, and judges them by WebSocket', async () => {
      const metrics = new Set(['down', 'up'] as const)
      const { failed, medians, targets } = await runWhole({ ...tiny, bench: 'transports', wants: isPostern, metrics })
      expect(failed).toEqual({})
      const ways = ['end-to-end', 'hop'].flatMap(mode => ['grpc', 'tls', 'websocket'].map(one => `${mode}/${one}`))
      expect(Object.keys(medians).sort()).toEqual(ways)
      const told = targets.filter(({ verdict }) => verdict !== 'not measured')
      expect(new Set(told.map(({ of, against }) => `${of} ${against}`))).toEqual(
        new Set(['end-to-end/grpc end-to-end/websocket', 'hop/grpc hop/websocket']),
      )
    })

    it('leaves nothing behind when it is stopped in its middle', async () => {
      const started = new Set<number>()
      const stop = new AbortController()
      const seen = (pids: readonly number[]) => {
        for (const pid of pidsOf(pids)) started.add(pid)
        stop.abort(new Error('enough'))
      }
      const sizes = { ...tiny.sizes, seconds: 60 }
      const wants = (peer: string) => peer === 'ssh'
      await expect(runWhole({ ...tiny, sizes, wants, seen, signal: stop.signal })).rejects.toThrow('enough')
      expect(started.size).toBeGreaterThan(3)
      await leftNothing(started)
    })

    it('loads by Node where nothing compiles C, and measures only what is wanted', async () => {
      const wants = (peer: string) => peer === NOTHING
      const names = NAMES.filter(name => name !== 'start' && name !== 'idle')
      const { load, medians } = await runWhole({ ...tiny, wants, metrics: new Set(names), language: { c: false } })
      expect(load).toBe('Node')
      const figures = ['down', 'up', 'streams', 'fairness', 'connections', 'first-byte', 'requests']
      expect(Object.keys(medians[NOTHING] ?? {})).toEqual([...figures, 'ping', 'ping99', 'gap', 'gap99'])
      for (const one of Object.values(medians[NOTHING] ?? {})) expect(one.median).toBeGreaterThan(0)
    })
  },
)

const noNetwork = networkMissing()

describe.skipIf(!ready || noNetwork !== undefined)(`over a network (here: ${noNetwork ?? 'yes'})`, () => {
  it('measures Postern and ssh far away from each other, and takes the network down again', async () => {
    const names = () => readdirSync('/run/netns').filter(name => name.endsWith(`-${process.pid}`))
    const isFar = (peer: string) => peer === 'end-to-end/websocket' || peer === 'ssh'
    const metrics = new Set(['first-byte', 'ping'] as const)
    const network = { rounds: 1, seconds: 0.3, wants: isFar }
    const run = { ...tiny, wants: (peer: string) => peer === NOTHING, metrics, network }
    const result = await runWhole(run)
    const far = result.network
    if (!('medians' in far)) throw new Error(`not run: ${far.notRun}`)
    expect(far.failed).toEqual({})
    // Not faster than light: a round trip is what the link says.
    for (const peer of ['end-to-end/websocket', 'ssh'])
      expect(far.medians[peer]?.ping?.min, peer).toBeGreaterThan(far.roundTripMs * 1000)
    expect(names()).toEqual([])
  })

  it('can be made twice, and goes each time', async () => {
    for (let at = 0; at < 2; at++) {
      await using network = await makeNetwork(scratch)
      expect(network.place.address).toBe('198.51.100.1')
      expect(['netem', 'link.c']).toContain(network.by)
    }
    rmSync(join(scratch, 'link'), { force: true })
    expect(existsSync(`/etc/netns/postern-near-${process.pid}`)).toBe(false)
  })
})

async function leftNothing(started: ReadonlySet<number>): Promise<void> {
  await expect.poll(() => [...started].filter(pid => existsSync(`/proc/${pid}`)), { timeout: 10_000 }).toEqual([])
  expect(readdirSync(scratch)).toEqual([])
}

describe('the command', () => {
  it('refuses what it does not know', async () => {
    await expect(compare('quick', ['--only', 'sideways'])).rejects.toThrow(/--only is some of down, up/)
    await expect(compare('quick', ['--rounds', '0'])).rejects.toThrow(/--rounds is a number from 1 on/)
    await expect(compare('bench', ['--fast'])).rejects.toThrow(/--fast/)
  })
})
