import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { presentPeers } from '../../scripts/peers.mjs'
import { HTTP_METRICS, http, runHttp } from '../http/http.ts'
import { readReport } from '../http/wrk.ts'

const ready = ['nginx', 'wrk'].every(name => presentPeers().includes(name)) && process.platform === 'linux'
const scratch = mkdtempSync(join(tmpdir(), 'postern-bench-test-'))
process.env.TMPDIR = scratch
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

describe.skipIf(!ready)('http, at a tiny size (needs: apt-get install nginx wrk, Linux)', () => {
  it('finds a number for every metric of both peers, and leaves nothing behind', async () => {
    const { table } = await runHttp({ rounds: 1, seconds: 1, say: () => {} })
    expect(Object.keys(table).sort()).toEqual(Object.keys(HTTP_METRICS).sort())
    for (const [metric, { postern, peer }] of Object.entries(table))
      expect(Math.min(postern.median, peer.median), metric).toBeGreaterThan(0)
    expect(readdirSync(scratch)).toEqual([])
  })
})

const REPORT = `  Latency Distribution
     50%    1.05ms
     99%  312.00us
  24414 requests in 2.01s, 29.25MB read
Requests/sec:  12160.29
Transfer/sec:     14.57MB
`

describe('what wrk prints', () => {
  it('is read, whatever its units', () => {
    expect(readReport(REPORT)).toEqual({ requests: 24_414, rate: 12_160.29, p99: 0.312 })
    expect(readReport(REPORT.replace('312.00us', '1.20s')).p99).toBe(1200)
  })

  it('is an error where not every answer was a page', () => {
    expect(() => readReport(`${REPORT}  Non-2xx or 3xx responses: 3\n`)).toThrow('Non-2xx or 3xx responses: 3')
    expect(() => readReport(`  Socket errors: connect 0, read 1, write 0, timeout 0\n${REPORT}`)).toThrow('read 1')
    expect(() => readReport('unable to connect')).toThrow('printed something else')
  })
})

describe('the command', () => {
  it('refuses what it does not know', async () => {
    await expect(http(['--rounds', '0'])).rejects.toThrow(/--rounds is a whole number/)
    await expect(http(['--fast'])).rejects.toThrow(/--fast/)
  })
})
