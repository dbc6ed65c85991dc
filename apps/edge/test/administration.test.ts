import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Call } from '@postern/interface'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { initialiseEdge, startEdge } from '../src/index.ts'

const call: Call = { signal: AbortSignal.timeout(60_000), log: { debug() {}, info() {}, warn() {}, error() {} } }
const wanted = { hostname: 'db.localhost', tunnel: 'home', teamDomain: 'edge.localhost' }
let data: string
beforeEach(() => (data = join(mkdtempSync(join(tmpdir(), 'postern-admin-')), 'edge')))
afterEach(() => rmSync(join(data, '..'), { recursive: true, force: true }))

describe('tunnel tokens', () => {
  test('sixteen may be good at once; the next is refused and none of the others is harmed', async () => {
    await initialiseEdge({ ...wanted, data }, call) // makes the first
    await using edge = await startEdge({ data, listen: { port: 0 } }, call)
    const { administration } = edge
    for (let more = 1; more < 16; more++)
      await administration.call('tunnel-token.create', { params: { name: 'home' }, body: {} })
    await expect(
      administration.call('tunnel-token.create', { params: { name: 'home' }, body: {} }),
    ).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
    await administration.call('tunnel-token.rotate', { params: { name: 'home' }, body: {} })
    await administration.call('tunnel-token.create', { params: { name: 'home' }, body: {} })
    const record = edge.store.snapshot.records.get('tunnel-token')?.get('home') as { hashes: unknown[] }
    expect(record.hashes).toHaveLength(2)
  })
})

test('row 99: no secret is in any file of the edge, in whatever form; what is no secret is', async () => {
  const { serviceToken, tunnelToken } = await initialiseEdge({ ...wanted, data }, call)
  {
    await using edge = await startEdge({ data, listen: { port: 0 } }, call)
    await edge.administration.call('service-token.create', { body: { name: 'another' } })
  }
  const bytes = Buffer.concat(filesBelow(data).map(file => readFileSync(file)))
  const inner = JSON.parse(Buffer.from(tunnelToken.slice('ptt_'.length), 'base64url').toString()).s as string
  for (const secret of [serviceToken.secret, serviceToken.secret.slice('psts_'.length), tunnelToken, inner]) {
    for (const form of [secret, Buffer.from(secret).toString('base64'), Buffer.from(secret).toString('hex')]) {
      expect(bytes.includes(form)).toBe(false)
    }
  }
  expect(bytes.includes(Buffer.from(inner, 'base64url'))).toBe(false)
  expect(bytes.includes(serviceToken.id)).toBe(true)
})

test('row 118: whatever the umask, everything is for this user alone', async () => {
  const old = process.umask(0)
  try {
    await initialiseEdge({ ...wanted, data }, call)
  } finally {
    process.umask(old)
  }
  for (const file of filesBelow(data)) expect(statSync(file).mode & 0o077).toBe(0)
  expect(statSync(data).mode & 0o077).toBe(0)
})

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name))
}

describe('postern-edge init --tokens', () => {
  const program = join(import.meta.dirname, '../bin/postern-edge.js')
  const init = (tokens: string) =>
    spawnSync(
      process.execPath,
      [
        program,
        'init',
        '--data',
        data,
        '--team-domain',
        'edge.localhost',
        '--hostname',
        'db.localhost',
        '--tokens',
        tokens,
      ],
      { encoding: 'utf8' },
    )

  test('writes the secrets to files for this user alone, and prints none', () => {
    const { status, stdout } = init(join(data, '../tokens'))
    expect(status).toBe(0)
    for (const name of ['tunnel-token', 'service-token']) {
      const file = join(data, '../tokens', name)
      expect(stdout).toContain(file)
      expect(stdout).not.toContain(readFileSync(file, 'utf8').trim())
      expect(statSync(file).mode & 0o777).toBe(0o600)
    }
  })

  test('makes nothing where a file is in the way, and nothing where there is an edge already, which it says', () => {
    const tokens = join(data, '../tokens')
    mkdirSync(tokens, { recursive: true })
    writeFileSync(join(tokens, 'service-token'), 'somebody’s')
    expect(init(tokens)).toMatchObject({ status: 72, stderr: expect.stringContaining('service-token cannot be made') })
    expect(readdirSync(tokens)).toEqual(['service-token'])
    expect(() => readdirSync(data)).toThrow()
    expect(init(join(data, '../one')).status).toBe(0)
    for (const again of ['../one', '../two'])
      expect(init(join(data, again))).toMatchObject({
        status: 72,
        stderr: expect.stringContaining('initialised already'),
      })
    expect(() => readdirSync(join(data, '../two'))).toThrow()
  })
})
