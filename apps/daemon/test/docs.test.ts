import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tunnelToken from '@postern/auth-tunnel-token/client'
import { dashed, type HostOptionSpec, kebab, variablesOf } from '@postern/options'
import { expect, it } from 'vitest'
import { KEYS } from '../src/daemon-file.ts'
import { CONFIG_FLAGS, RULE_FLAGS, RUN_FLAGS } from '../src/flags.ts'
import { createMetrics } from '../src/metrics.ts'
import { runPosternd } from './run-posternd.ts'

const DOC = readFileSync(new URL('../../../docs/daemon.md', import.meta.url), 'utf8')

/** The cells of a table between two markers of docs/daemon.md, without its head. */
function rows(marker: string): string[] {
  const table = DOC.split(`<!-- ${marker}:`)[1]?.split(`<!-- /${marker} -->`)[0] ?? ''
  const lines = table.split('\n').filter(line => line.startsWith('|'))
  return lines.slice(2).map(line =>
    line
      .split('|')
      .map(cell => cell.trim())
      .join(' | ')
      .trim(),
  )
}

const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
const keyOf = (name: string) => Object.entries(KEYS).flatMap(([key, option]) => (option === name ? [key] : []))
const code = (words: readonly string[]) => words.map(word => `\`${word}\``).join(', ')

function optionRow(name: string, spec: HostOptionSpec, key: string, fallback?: string): string {
  const flags = [name, ...(spec.type === 'secret' ? [`${name}File`] : []), ...(spec.aliases ?? [])]
  const files = spec.type === 'secret' ? ['', '_FILE'] : ['']
  const variables = variablesOf(name, spec, undefined).flatMap(one => files.map(end => one + end))
  const own = spec.required
    ? 'required'
    : spec.default === undefined || spec.default === false
      ? ''
      : `\`${spec.default}\``
  return row([code(flags.map(flag => dashed(kebab(flag)))), key, code(variables), fallback ?? own])
}

it('docs/daemon.md lists every option with its variables and default', () => {
  const { token } = tunnelToken.options
  const { help: _, ...run } = RUN_FLAGS
  expect(rows('options')).toEqual([
    ...Object.entries(RULE_FLAGS).map(([name, spec]) =>
      optionRow(name, spec, 'in `ingress`', 'required' in spec ? 'required without a file' : undefined),
    ),
    ...Object.entries(CONFIG_FLAGS).map(([name, spec]) => optionRow(name, spec, '', 'required by `posternd run`')),
    optionRow('token', token, code(['tokenFile', 'token'])),
    ...Object.entries(run).map(([name, spec]) => optionRow(name, spec, code(keyOf(name)))),
  ])
})

it('docs/daemon.md lists every metric of posternd’s own', async () => {
  const metrics = await createMetrics('1.2.3')
  const { text } = await metrics.render()
  const names = [...text.matchAll(/^# TYPE (posternd_\S+) /gm)].map(([, name = '']) => name)
  expect(rows('metrics').map(line => /`(\w+)`/.exec(line)?.[1])).toEqual(names)
})

it('the config file in docs/daemon.md is a good one', async () => {
  const [, yaml = ''] = /```yaml\n([\s\S]*?)```/.exec(DOC) ?? []
  const folder = mkdtempSync(join(tmpdir(), 'postern-docs-'))
  try {
    const file = join(folder, 'posternd.yaml')
    writeFileSync(file, yaml, { mode: 0o644 })
    expect(yaml).toContain('ingress:')
    expect(await runPosternd(['ingress', 'validate', '--config', file])).toContain('ssh.example.com')
    expect(await runPosternd(['service', 'print', '--config', file])).toContain(
      'tunnel-token:/etc/postern/tunnel-token',
    )
  } finally {
    rmSync(folder, { recursive: true })
  }
})
