import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { presentPeers } from '../../scripts/peers.mjs'
import { pidsOf } from '../processes.ts'
import { METRICS, NAMES } from '../quick/measure.ts'
import { quick, runQuick } from '../quick/quick.ts'
import { compare, median, render } from '../report.ts'

const ready = ['ssh', 'sshd'].every(name => presentPeers().includes(name)) && process.platform === 'linux'
const { signal } = new AbortController()
// Temporary folders go here: another run on this machine does not count.
const scratch = mkdtempSync(join(tmpdir(), 'postern-bench-test-'))
process.env.TMPDIR = scratch
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

describe.skipIf(!ready)('quick, at a tiny size (needs: apt-get install openssh-server openssh-client, Linux)', () => {
  it('finds a number for every metric of both peers, and leaves nothing behind', async () => {
    let started: readonly number[] = []
    const options = { rounds: 2, seconds: 0.25, starts: 1, metrics: new Set(NAMES), say: () => {}, signal }
    const result = await runQuick(options, pids => {
      started = pidsOf(pids)
    })

    for (const metric of NAMES) {
      const one = result.table[metric]
      for (const figure of [one?.postern, one?.peer, one?.ratio]) {
        expect(figure?.min, metric).toBeGreaterThan(0)
        expect(figure?.max, metric).toBeGreaterThanOrEqual(figure?.median ?? Number.NaN)
      }
    }
    expect(result.peers.ssh?.cipher).toMatch(/^[a-z0-9].*@openssh\.com$|^aes/)
    expect(result.peers.postern?.cipher).toMatch(/^TLS_/)
    expect(started.length).toBeGreaterThan(6)
    await expect.poll(() => started.filter(pid => existsSync(`/proc/${pid}`)), { timeout: 10_000 }).toEqual([])
    expect(readdirSync(scratch)).toEqual([])
  })

  it('leaves nothing behind when it is stopped in its middle', async () => {
    let started: readonly number[] = []
    const stop = new AbortController()
    const metrics = new Set(['down'] as const)
    const options = { rounds: 100, seconds: 5, starts: 1, metrics, say: () => {}, signal: stop.signal }
    const running = runQuick(options, pids => {
      started = pidsOf(pids)
      setTimeout(() => stop.abort(new Error('enough')), 500)
    })
    await expect(running).rejects.toThrow('enough')
    expect(started.length).toBeGreaterThan(6)
    await expect.poll(() => started.filter(pid => existsSync(`/proc/${pid}`)), { timeout: 10_000 }).toEqual([])
    expect(readdirSync(scratch)).toEqual([])
  })

  it('measures only what is wanted', async () => {
    const options = { rounds: 1, seconds: 0.2, starts: 1, metrics: new Set(['down'] as const), say: () => {}, signal }
    expect(Object.keys((await runQuick(options)).table)).toEqual(['down'])
  })
})

describe('the report', () => {
  it('divides round by round, and says a loss as plainly as a win', () => {
    const rounds = [
      { postern: { down: 100, start: 100 }, peer: { down: 200, start: 200 }, direct: { down: 4000 } },
      { postern: { down: 300, start: 130 }, peer: { down: 400, start: 200 }, direct: { down: 5000 } },
    ]
    const { down, start } = compare(rounds, METRICS)
    expect(down?.ratio).toEqual({ median: 0.625, min: 0.5, max: 0.75 })
    expect([down?.verdict, start?.verdict]).toEqual(['worse', 'better'])
    expect(down?.direct?.median).toBe(4500)
    expect(start?.direct).toBeUndefined()
    const lines = render(down ? { down } : {}, METRICS, 'OpenSSH').split('\n')
    expect(lines).toHaveLength(3)
    expect(lines[2]).toMatch(/bulk down.* worse /)
  })

  it('calls what is within the noise even', () => {
    const one = { postern: { cpu: 1.05 }, peer: { cpu: 1 }, direct: {} }
    expect(compare([one], METRICS).cpu?.verdict).toBe('even')
  })

  it('takes the middle', () => {
    expect([median([3, 1, 2]), median([4, 1, 2, 3])]).toEqual([2, 2.5])
    expect(() => median([])).toThrow(RangeError)
  })
})

describe('the command', () => {
  it('refuses what it does not know', async () => {
    await expect(quick(['--only', 'sideways'])).rejects.toThrow(/--only is some of down, up/)
    await expect(quick(['--rounds', '0'])).rejects.toThrow(/--rounds is a number from 1 on/)
    await expect(quick(['--fast'])).rejects.toThrow(/--fast/)
  })
})
