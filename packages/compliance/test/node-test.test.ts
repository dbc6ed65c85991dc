import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, it } from 'vitest'
import { authCases } from '../src/index.ts'
import { client, edge, SEEDED } from './good/auth.ts'

describe('without vitest', () => {
  it('the kit runs under node:test', () => {
    const file = fileURLToPath(new URL('node-test.ts', import.meta.url))
    const { NODE_OPTIONS: _, NODE_TEST_CONTEXT: __, ...env } = process.env
    const { stdout, status } = spawnSync(process.execPath, ['--test', '--test-reporter=tap', file], {
      encoding: 'utf8',
      timeout: 15_000,
      env,
    })
    assert.equal(status, 0, stdout)
    const passed = Number(/^# pass (\d+)$/m.exec(stdout)?.[1])
    assert.equal(passed, authCases({ client, edge, ...SEEDED }).length, stdout)
    assert.match(stdout, /^# fail 0$/m)
  })
})
