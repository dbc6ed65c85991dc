import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openStore } from '../src/store.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }
const ROUNDS = 5

test('row 111: kill -9 loses no acknowledged change, and none is there without its audit row', {
  timeout: 60_000,
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'postern-kill-'))
  const path = join(folder, 'edge.db')
  let acknowledged = 0
  for (let round = 0; round < ROUNDS; round += 1) {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'victim.ts'), path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const gone = once(child, 'exit')
    let said = ''
    for await (const chunk of child.stdout.setEncoding('utf8')) {
      said += chunk
      if (said.split('\n').length > 60 + round * 7) child.kill('SIGKILL')
    }
    await gone
    expect(child.signalCode).toBe('SIGKILL')
    const last = Number(said.slice(0, said.lastIndexOf('\n')).split('\n').at(-1))
    await using store = await openStore({ path }, { signal: new AbortController().signal, log })
    const rows = store.snapshot.records.get('n')
    for (let n = 0; n <= last; n += 1) expect(rows?.get(String(n))).toEqual({ n })
    expect(store.snapshot.version).toBe(rows?.size)
    const { integrity, broken } = await store.check()
    expect({ integrity, broken }).toEqual({ integrity: 'ok', broken: undefined })
    const changes = (await store.readAudit({ most: 100_000 })).filter(row => row.class === 'change')
    expect(changes).toHaveLength(store.snapshot.version)
    expect(last).toBeGreaterThan(acknowledged)
    acknowledged = last
  }
  await rm(folder, { recursive: true })
})
