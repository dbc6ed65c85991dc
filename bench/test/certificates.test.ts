import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { presentPeers } from '../../scripts/peers.mjs'
import { CERTIFICATE_METRICS, certificates, FIGURES, runCertificates } from '../certificates/certificates.ts'

const ready = presentPeers().includes('nginx') && process.platform === 'linux'
const scratch = mkdtempSync(join(tmpdir(), 'postern-bench-test-'))
process.env.TMPDIR = scratch
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

describe.skipIf(!ready)('certificates, at a tiny size (needs: apt-get install nginx, Linux)', () => {
  it('finds a number for every metric of both peers, and leaves nothing behind', async () => {
    const { table, own } = await runCertificates({ rounds: 1, seconds: 0.25, say: () => {} })
    expect(Object.keys(table).sort()).toEqual(Object.keys(CERTIFICATE_METRICS).sort())
    for (const one of [own.postern, own.nginx]) expect(Object.keys(one).sort()).toEqual(Object.keys(FIGURES).sort())
    for (const [metric, { postern, peer }] of Object.entries(table))
      if (!metric.endsWith('-cpu')) expect(Math.min(postern.median, peer.median), metric).toBeGreaterThan(0)
    expect(readdirSync(scratch)).toEqual([])
  })
})

describe('the command', () => {
  it('refuses what it does not know', async () => {
    await expect(certificates(['--seconds', '0'])).rejects.toThrow(/--seconds is a whole number/)
    await expect(certificates(['--fast'])).rejects.toThrow(/--fast/)
  })
})
