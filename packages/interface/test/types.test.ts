import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'

const here = fileURLToPath(new URL('.', import.meta.url))
const tsc = fileURLToPath(new URL('../../../node_modules/.bin/tsc', import.meta.url))

function compile(folder: string): { readonly ok: boolean; readonly output: string } {
  const done = spawnSync(tsc, ['-p', join(folder, 'tsconfig.json'), '--pretty', 'false'], {
    encoding: 'utf8',
    timeout: 60_000,
    shell: process.platform === 'win32',
  })
  return { ok: done.status === 0, output: `${done.stdout}${done.stderr}` }
}

describe('the contracts, as a compiler sees them', () => {
  test('the plugins of the fixtures compile, and what must not compile does not', { timeout: 60_000 }, () => {
    expect(compile(join(here, 'fixtures'))).toEqual({ ok: true, output: '' })
  })

  test('each fixture is there, and each denial is a line of its own', () => {
    expect(readdirSync(join(here, 'fixtures/allowed')).sort()).toEqual([
      'aws-sigv4.ts',
      'github-actions-oidc.ts',
      'kerberos.ts',
      'redis.ts',
      'webtransport.ts',
    ])
    const denied = readdirSync(join(here, 'fixtures/denied')).map(name =>
      readFileSync(join(here, 'fixtures/denied', name), 'utf8'),
    )
    expect(denied.join('').match(/@ts-expect-error/g)?.length).toBeGreaterThan(30)
    const allowed = readdirSync(join(here, 'fixtures/allowed')).map(name =>
      readFileSync(join(here, 'fixtures/allowed', name), 'utf8'),
    )
    expect(allowed.join('')).not.toMatch(/\bany\b|@ts-/)
  })

  test('this test can fail: without their expectations the denials are errors', { timeout: 60_000 }, () => {
    const copy = mkdtempSync(join(here, '.copy-'))
    onTestFinished(() => rmSync(copy, { recursive: true, force: true }))
    cpSync(join(here, 'fixtures'), copy, { recursive: true })
    let expected = 0
    for (const name of readdirSync(join(copy, 'denied'))) {
      const file = join(copy, 'denied', name)
      writeFileSync(
        file,
        readFileSync(file, 'utf8').replace(/\/\/ @ts-expect-error/g, () => `// ${++expected}`),
      )
    }
    const { ok, output } = compile(copy)
    expect(ok).toBe(false)
    expect(output.match(/error TS\d+/g)?.length).toBeGreaterThanOrEqual(expected)
  })
})
