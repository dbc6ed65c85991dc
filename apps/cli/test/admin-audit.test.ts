import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { AuditRow } from '@postern/admin'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type AdminWorld, json, startAdminWorld } from './admin-world.ts'

let world: AdminWorld
beforeAll(async () => {
  world = await startAdminWorld()
  for (const name of ['one', 'two', 'three']) await local('tunnel', 'create', name)
})
afterAll(() => world[Symbol.asyncDispose]())

const local = (...args: string[]) => world.local(args)
const rowsOf = async (...more: string[]) => json<AuditRow[]>(await local('admin', 'audit', '--json', ...more))

describe('the audit log', () => {
  it('is shown with the latest last', async () => {
    const { code, stdout } = await local('admin', 'audit', '--action', 'tunnel.create')
    expect(code).toBe(0)
    expect(stdout).toMatch(/^\d{4}-\S+Z done {2}tunnel\.create actor=local .*one[\s\S]*two[\s\S]*three.*\n$/)
    const rows = await rowsOf('--action', 'tunnel.create')
    expect(rows).toHaveLength(3)
    expect(rows[0]?.sequence).toBeLessThan(rows[2]?.sequence ?? 0)
  })

  it('is as long as was asked', async () => {
    expect(await rowsOf('--limit', '2')).toEqual((await rowsOf()).slice(-2))
    expect(await rowsOf('--since', '1h', '--actor', 'local', '--class', 'change')).not.toEqual([])
    expect(await rowsOf('--actor', 'nobody')).toEqual([])
    expect((await local('admin', 'audit', '--class', 'rumour')).code).toBe(2)
    expect((await local('admin', 'audit', '--limit', '0')).code).toBe(2)
  })

  it('goes on with --follow, a JSON value a line, until it is stopped, which is no failure', async () => {
    const args = ['admin', 'audit', '--follow', '--json', '--limit', '1', '--action', 'tunnel.create']
    const child = spawn(process.execPath, [join(import.meta.dirname, '../bin/postern.js'), ...args], {
      env: { PATH: process.env.PATH, POSTERN_EDGE_DATA: join(world.folder, 'edge'), POSTERN_HOME: '/nonexistent' },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const ended = once(child, 'close')
    let said = ''
    for await (const chunk of child.stdout) {
      said += chunk
      const lines = said.split('\n').length - 1
      if (lines === 1 && !said.includes('four'))
        for (const name of ['four', 'five']) await local('tunnel', 'create', name)
      if (lines === 3) child.kill('SIGINT')
    }
    const rows = said
      .trim()
      .split('\n')
      .map(line => JSON.parse(line) as AuditRow)
    expect(rows.map(({ detail }) => JSON.stringify(detail))).toEqual(
      ['three', 'four', 'five'].map(name => expect.stringContaining(name)),
    )
    expect(await ended).toEqual([0, null])
  })

  it('sends a terminal nothing that it obeys, whatever somebody called a thing', async () => {
    const odd = 'a\u001b[2Jb\u0007\u009b31m\u202egnp.exe'
    const rules = join(world.folder, 'rules.yaml')
    const rule = { name: odd, action: 'allow', include: [{ anyServiceToken: true }], permit: { note: odd } }
    writeFileSync(rules, JSON.stringify([rule]), { mode: 0o600 })
    const set = ['admin', 'policy', 'set', 'db.localhost', '-f', rules]
    const shown = [
      await local(...set),
      await local(...set, '--json'),
      await local('admin', 'policy', 'show', 'db.localhost'),
      await local('admin', 'app', 'info', 'db.localhost'),
      await local('admin', 'policy', 'remove', 'db.localhost', 'nothing'),
      await local('admin', 'export'),
      await local('admin', 'audit'),
      await local('admin', 'audit', '--json'),
    ]
    for (const { stdout, stderr } of shown)
      expect(stdout + stderr).not.toMatch(
        /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/,
      )
    expect(json<object[]>(shown[1]!)).toEqual([rule]) // escaped, and still the same
    writeFileSync(rules, shown[2]!.stdout, { mode: 0o600 })
    expect(json<object[]>(await local(...set, '--json'))).toEqual([rule]) // as YAML, too
  })
})
