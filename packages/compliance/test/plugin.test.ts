import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { definePlugin, type Json } from '@postern/interface'
import { afterAll, describe, it } from 'vitest'
import { type Case, pluginCases, protocolRulesCases, runCase } from '../src/index.ts'
import { mustFail } from './expect-failure.ts'

const folders: string[] = []
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true })
})

/** A plugin package on disk, as it would be installed. */
function packageWith(change: {
  code?: string
  manifest?: object
  entry?: object
  exports?: object
  specs?: string
}): URL {
  const folder = mkdtempSync(join(tmpdir(), 'postern-compliance-'))
  folders.push(folder)
  const specs = change.specs ?? "{ key: { type: 'secret', summary: 'the key', required: true } }"
  const plugin = `{ api: 1, kind: 'auth', side: 'client', name: 'sample', options: ${specs}, create: () => ({}) }`
  writeFileSync(join(folder, 'client.js'), `${change.code ?? ''}\nexport default ${plugin}\n`)
  const entry = { kind: 'auth', name: 'sample', client: './client.js', options: { client: ['key'] }, ...change.entry }
  const exports = { './client': { default: './client.js' }, './package.json': './package.json', ...change.exports }
  const postern = { api: 1, plugins: [entry], ...change.manifest }
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'sample', type: 'module', exports, postern }))
  return pathToFileURL(join(folder, 'package.json'))
}

const rules = (check: (permit: Json) => readonly string[]): readonly Case[] =>
  protocolRulesCases({
    edge: definePlugin({ kind: 'protocol', side: 'edge', name: 'sample', options: {}, create: () => ({ check }) }),
    good: [null, ['GET']],
    bad: [{ commands: 'all' }],
  })

describe('a package that keeps the contract passes', () => {
  for (const each of pluginCases({ package: packageWith({}) })) it(each.name, () => runCase(each))
})

describe('rules that keep the contract pass', () => {
  const cases = rules(permit => (permit === null || Array.isArray(permit) ? [] : ['must be a list of commands']))
  for (const each of cases) it(each.name, () => runCase(each))
})

const side = 'auth sample, client side'
const FAULTS: readonly (readonly [string, Parameters<typeof packageWith>[0], string, RegExp])[] = [
  ['is of another API', { manifest: { api: 2 } }, 'the manifest is of this API, and lists plugins', /postern\.api/],
  [
    'names a side that its kind has not',
    { entry: { origin: './client.js' } },
    'the manifest is of this API, and lists plugins',
    /has no origin side/,
  ],
  [
    'exports another module',
    { exports: { './client': './other.js' } },
    'the package exports each side, and its package.json',
    /must be the module/,
  ],
  ['forgets an option', { entry: { options: {} } }, `${side}: is what the manifest says`, /must list them all/],
  ['has another name', { entry: { name: 'other' } }, 'auth other, client side: is what the manifest says', /other/],
  ['is not built', { entry: { client: './dist/client.js' } }, `${side}: is what the manifest says`, /build first/],
  [
    'has a secret with a default',
    { specs: "{ key: { type: 'secret', summary: 's', default: 'x' } }" },
    `${side}: its options can be`,
    /cannot have this default/,
  ],
  [
    'starts a timer when imported',
    { code: 'setInterval(() => {}, 1000)' },
    `${side}: does nothing when it is imported`,
    /Timeout/,
  ],
  [
    'listens when imported',
    { code: "import net from 'node:net'\nnet.createServer().listen(0)" },
    `${side}: does nothing when it is imported`,
    /TCPServerWrap/,
  ],
  ['makes a global', { code: 'globalThis.sample = 1' }, `${side}: does nothing when it is imported`, /sample/],
  ['prints when imported', { code: "console.log('hello')" }, `${side}: does nothing when it is imported`, /hello/],
]

describe('a package that', () => {
  for (const [fault, change, fails, saying] of FAULTS) {
    const cases = pluginCases({ package: packageWith(change) })
    it(`${fault} fails "${fails}"`, () => mustFail({ fault, cases, fails, saying }))
  }
})

describe('rules that', () => {
  it('throw fail', () => {
    const cases = rules(permit => ((permit as { commands: string[] }).commands.length > 0 ? [] : []))
    return mustFail({ fault: '', cases, fails: 'never throws, and leaves the permit as it was', saying: /TypeError/ })
  })
  it('let everything pass fail', () => {
    const fails = 'says what is wrong with what is wrong'
    return mustFail({ fault: '', cases: rules(() => []), fails, saying: /commands/ })
  })
})
