import { setTimeout as sleep } from 'node:timers/promises'
import type { Code } from '@postern/interface'
import { describe, expect, test } from 'vitest'
import { createRegistry } from '../src/index.ts'
import { authEntry, authModule, call, emptyFolder, host, manifest, refused, writePackage } from './packages.ts'

/** A registry with one plugin that consists of this module, and little patience. */
async function withModule(source: string, entry: object = authEntry, deadline = 200) {
  const folder = await writePackage(await emptyFolder(), { 'package.json': manifest(entry), 'client.js': source })
  const registry = createRegistry([], { deadline })
  await registry.add(folder, { from: folder })
  return registry
}

const create = async (source: string, entry?: object) =>
  (await withModule(source, entry)).create('auth', 'key', 'client', {}, host, call)

// security.md row 113, for loading: each deny has its allow twin.
describe('a module that is a plugin', () => {
  const allowed: Record<string, string> = {
    'plain object': authModule(),
    'async create': authModule({ create: 'async () => ({ authenticate: async () => ({}) })' }),
    'a class instance': authModule({ create: '() => new (class { async authenticate() { return {} } })()' }),
    'an await at the top that ends': `await new Promise(done => setTimeout(done, 5))\n${authModule()}`,
    'create that uses this': authModule({
      answer: '{}',
      create: 'function () { return { authenticate: async () => this.answer } }',
    }),
  }
  test.each(Object.entries(allowed))('%s is created', async (_name, source) => {
    const auth = await create(source)
    expect(await auth.authenticate({ purpose: 'connector', teamDomain: 'x' }, call)).toBeTypeOf('object')
  })
})

describe('a module that is none is refused, and the host lives', () => {
  const denied: [what: string, code: Code, source: string][] = [
    ['throws at import', 'PLUGIN_LOAD', 'throw new Error("boom")'],
    ['throws nonsense at import', 'PLUGIN_LOAD', 'throw { get message() { throw 1 } }'],
    ['throws undefined', 'PLUGIN_LOAD', 'throw undefined'],
    ['rejects at import', 'PLUGIN_LOAD', 'await Promise.reject(new Error("boom"))'],
    ['does not parse', 'PLUGIN_LOAD', 'export default {'],
    ['imports what is not there', 'PLUGIN_LOAD', 'import "./nowhere.js"'],
    ['never resolves', 'PLUGIN_LOAD', 'await new Promise(done => setTimeout(done, 2 ** 30).unref())'],
    ['blocks the thread', 'PLUGIN_LOAD', `const end = Date.now() + 400; while (Date.now() < end);\n${authModule()}`],
    ['is a thenable itself', 'PLUGIN_LOAD', `export function then() {}\n${authModule()}`],
    ['exports nothing', 'PLUGIN_SHAPE', ''],
    ['exports undefined', 'PLUGIN_SHAPE', 'export default undefined'],
    ['exports "true"', 'PLUGIN_SHAPE', 'export default "true"'],
    ['exports null', 'PLUGIN_SHAPE', 'export default null'],
    ['exports a class', 'PLUGIN_SHAPE', 'export default class {}'],
    ['exports a Proxy', 'PLUGIN_SHAPE', 'export default new Proxy({}, { get: () => () => {} })'],
    ['exports a thenable', 'PLUGIN_SHAPE', 'export default { then() {} }'],
    ['exports a promise', 'PLUGIN_SHAPE', 'export default Promise.resolve({})'],
    ['exports getters that throw', 'PLUGIN_SHAPE', 'export default { get api() { throw new Error("boom") } }'],
    ['another API', 'PLUGIN_API', authModule({ api: '2' })],
    ['an API that is text', 'PLUGIN_API', authModule({ api: '"1"' })],
    ['no API', 'PLUGIN_API', 'export default {}'],
    ['a rule, which only origin sides have', 'PLUGIN_SHAPE', authModule({ rule: '{ options: {} }' })],
    ['another kind', 'PLUGIN_SHAPE', authModule({ kind: '"transport"' })],
    ['another side', 'PLUGIN_SHAPE', authModule({ side: '"edge"' })],
    ['another name', 'PLUGIN_SHAPE', authModule({ name: '"kye"' })],
    ['no create', 'PLUGIN_SHAPE', authModule({ create: 'undefined' })],
    ['no options', 'PLUGIN_OPTIONS', authModule({ options: 'undefined' })],
    ['options that are no data', 'PLUGIN_OPTIONS', authModule({ options: '{ a: () => {} }' })],
    [
      'an option of an unknown type',
      'PLUGIN_OPTIONS',
      authModule({ options: '{ a: { type: "colour", summary: "x" } }' }),
    ],
    [
      'an option that its manifest does not list',
      'PLUGIN_OPTIONS',
      authModule({ options: '{ a: { type: "string", summary: "x" } }' }),
    ],
    ['create throws', 'PLUGIN_CREATE', authModule({ create: '() => { throw new Error("boom") }' })],
    ['create throws nothing', 'PLUGIN_CREATE', authModule({ create: '() => { throw undefined }' })],
    ['create rejects', 'PLUGIN_CREATE', authModule({ create: 'async () => { throw new Error("boom") }' })],
    ['create never resolves', 'PLUGIN_CREATE', authModule({ create: '() => new Promise(() => {})' })],
    [
      'create blocks the thread',
      'PLUGIN_CREATE',
      authModule({
        create: '() => { const end = Date.now() + 400; while (Date.now() < end); return { authenticate() {} } }',
      }),
    ],
    ['create returns a thenable that never resolves', 'PLUGIN_CREATE', authModule({ create: '() => ({ then() {} })' })],
    ['create returns undefined', 'PLUGIN_SHAPE', authModule({ create: '() => undefined' })],
    ['create returns "true"', 'PLUGIN_SHAPE', authModule({ create: '() => "true"' })],
    ['create returns {allow:1}', 'PLUGIN_SHAPE', authModule({ create: '() => ({ allow: 1 })' })],
    ['create returns another verb', 'PLUGIN_SHAPE', authModule({ create: '() => ({ verify() {} })' })],
    [
      'create returns a verb that is no function',
      'PLUGIN_SHAPE',
      authModule({ create: '() => ({ authenticate: true })' }),
    ],
    [
      'create returns a getter that throws',
      'PLUGIN_SHAPE',
      authModule({ create: '() => ({ get authenticate() { throw 1 } })' }),
    ],
    [
      'create returns a Proxy',
      'PLUGIN_SHAPE',
      authModule({ create: '() => new Proxy({}, { get: (_, key) => key === "then" ? undefined : () => {} })' }),
    ],
  ]
  test.each(denied)('%s: %s', async (_what, code, source) => {
    const error = await refused(create(source))
    expect([error.code, error.message]).toEqual([code, expect.stringContaining('auth key')])
    expect(error.message).toMatch(/^plugin .+: found .+; wanted .+/s)
    expect(error.next).not.toBe('')
    expect(error.speaker).toBeUndefined() // the host found it out; the plugin said nothing
  })

  test('the cause of what was thrown is kept', async () => {
    expect((await refused(create('throw new Error("boom")'))).cause).toMatchObject({ message: 'boom' })
    expect((await refused(create(authModule({ create: '() => { throw new Error("boom") }' })))).cause).toMatchObject({
      message: 'boom',
    })
  })

  test('a PosternError of the plugin comes through, also from its own copy of the class', async () => {
    const source = `const e = Object.assign(new Error("the key file is empty"), { code: "OPTION_INVALID", next: "fill it", [Symbol.for("postern.error")]: true })
      ${authModule({ create: '() => { throw e }' })}`
    expect(await refused(create(source))).toMatchObject({ code: 'OPTION_INVALID', next: 'fill it' })
    const forged = source.replace('OPTION_INVALID', 'MADE_UP')
    expect((await refused(create(forged))).code).toBe('PLUGIN_CREATE')
  })

  test('a getter cannot show the check one thing and its user another', async () => {
    const source = `let n = 0\nexport default { ${authModule().slice('export default { '.length, -2).replace('name: "key"', 'get name() { return n++ ? "other" : "key" }')} }`
    const plugin = await (await withModule(source)).load('auth', 'key', 'client', call)
    expect([plugin.name, plugin.name]).toEqual(['key', 'key'])
  })
})

describe('a transport’s edge side', () => {
  const entry = { kind: 'transport', name: 'pipe', edge: './client.js' }
  const source = (returned: string) =>
    `export default { api: 1, kind: "transport", side: "edge", name: "pipe", options: {}, create: () => (${returned}) }`
  const mount = async (returned: string) =>
    (await withModule(source(returned), entry)).create('transport', 'pipe', 'edge', {}, {} as never, call)

  test('names a door that an edge has', async () => {
    expect(await mount('{ door: "http", async mount() {} }')).toMatchObject({ door: 'http' })
    expect((await refused(mount('{ door: "chimney", async mount() {} }'))).code).toBe('PLUGIN_SHAPE')
    expect((await refused(mount('{ async mount() {} }'))).code).toBe('PLUGIN_SHAPE')
  })
})

describe('waiting', () => {
  test('an abort rejects with its reason, during load and during create', async () => {
    for (const source of [
      'await new Promise(done => setTimeout(done, 2 ** 30).unref())',
      authModule({ create: '() => new Promise(() => {})' }),
    ]) {
      const registry = await withModule(source, authEntry, 60_000)
      const abort = new AbortController()
      const reason = new Error('the user left')
      setTimeout(() => abort.abort(reason), 20)
      await expect(registry.create('auth', 'key', 'client', {}, host, { ...call, signal: abort.signal })).rejects.toBe(
        reason,
      )
      await expect(registry.create('auth', 'key', 'client', {}, host, { ...call, signal: abort.signal })).rejects.toBe(
        reason,
      )
    }
  })

  test('what create returns after the deadline is disposed of', async () => {
    const registry = await withModule(
      authModule({
        create:
          '() => new Promise(done => setTimeout(() => done({ authenticate() {}, async [Symbol.asyncDispose]() { globalThis.disposedLate = true } }), 60))',
      }),
      authEntry,
      20,
    )
    expect((await refused(registry.create('auth', 'key', 'client', {}, host, call))).code).toBe('PLUGIN_CREATE')
    const late = globalThis as { disposedLate?: boolean }
    for (let i = 0; i < 200 && !late.disposedLate; i++) await sleep(10)
    expect(late.disposedLate).toBe(true)
  })

  test('leaves no timer and no listener behind', async () => {
    const timers = () => process.getActiveResourcesInfo().filter(name => name === 'Timeout').length
    const before = timers()
    await (await withModule(authModule(), authEntry, 60_000)).create('auth', 'key', 'client', {}, host, call)
    expect(timers()).toBeLessThanOrEqual(before) // one of an earlier test may end meanwhile
  })
})
