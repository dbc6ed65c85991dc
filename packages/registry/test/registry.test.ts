import { join } from 'node:path'
import { definePlugin } from '@postern/interface'
import { describe, expect, test } from 'vitest'
import { type Builtin, createRegistry } from '../src/index.ts'
import { authEntry, authModule, call, emptyFolder, host, manifest, refused, writePackage } from './packages.ts'

const key = definePlugin({
  kind: 'auth',
  side: 'client',
  name: 'key',
  options: { apiKey: { type: 'secret', summary: 'the key', required: true } },
  create: ({ apiKey }) => ({ authenticate: async () => ({ headers: { 'x-key': apiKey } }) }),
})
let loads = 0
const builtins: readonly Builtin[] = [
  {
    package: '@postern/auth-key',
    entry: {
      kind: 'auth',
      name: 'key',
      options: { client: ['apiKey'], edge: ['depth'] },
      client: './c.js',
      edge: './e.js',
    },
    load: {
      client: async () => {
        loads++
        return { default: key }
      },
    },
  },
  {
    package: '@postern/protocol-ssh',
    entry: { kind: 'protocol', name: 'ssh', schemes: ['ssh'], client: './c.js', origin: './o.js' },
    load: {},
  },
]

describe('built-ins', () => {
  test('are known without being loaded, and load when they are wanted', async () => {
    const registry = createRegistry(builtins)
    expect(registry.names('auth')).toEqual(['key'])
    expect(registry.names('transport')).toEqual([])
    expect(registry.names('protocol', 'edge')).toEqual([])
    expect(registry.forScheme('ssh:')?.entry.name).toBe('ssh')
    expect(registry.forScheme('SSH')?.entry.name).toBe('ssh')
    expect(registry.forScheme('constructor')).toBeUndefined()
    expect(registry.ownersOf('apiKey')).toEqual([{ kind: 'auth', name: 'key', side: 'client' }])
    expect(registry.ownersOf('api-key')).toHaveLength(1)
    expect(registry.ownersOf('nothing')).toEqual([])
    expect(loads).toBe(0)
    const auth = await registry.create('auth', 'key', 'client', { apiKey: 'k' }, host, call)
    expect(await auth.authenticate({ purpose: 'connector', teamDomain: 'x' }, call)).toEqual({
      headers: { 'x-key': 'k' },
    })
    expect(loads).toBe(1)
  })

  test('a name that is not there names the nearest, a side that is not there names what is', async () => {
    const registry = createRegistry(builtins)
    expect(await refused(registry.load('auth', 'kye', 'client', call))).toMatchObject({
      code: 'PLUGIN_NOT_FOUND',
      next: expect.stringContaining('Did you mean key?'),
    })
    expect(await refused(registry.load('auth', 'key', 'edge', call))).toMatchObject({ code: 'PLUGIN_SIDE' })
    expect(await refused(registry.load('protocol', 'ssh', 'edge', call))).toMatchObject({
      code: 'PLUGIN_SIDE',
      message: expect.stringContaining('only client and origin'),
    })
  })
})

describe('two plugins of one name', () => {
  const from = async () => {
    const folder = await emptyFolder()
    await writePackage(join(folder, 'a'), { 'package.json': manifest(authEntry), 'client.js': authModule() })
    await writePackage(join(folder, 'b'), { 'package.json': manifest(authEntry), 'client.js': authModule() })
    const ssh = { kind: 'protocol', name: 'ssh-audited', schemes: ['ssh'], origin: './o.js' }
    await writePackage(join(folder, 'ssh'), { 'package.json': manifest({ ...authEntry, name: 'other' }, ssh) })
    return folder
  }

  test('a built-in is shadowed only when that is said', async () => {
    const folder = await from()
    const registry = createRegistry(builtins)
    const error = await refused(registry.add('./a', { from: folder }))
    expect(error).toMatchObject({ code: 'PLUGIN_CONFLICT', message: expect.stringContaining('@postern/auth-key') })
    expect(registry.find('auth', 'key')?.builtin).toBe(true)
    await registry.add('./a', { from: folder, override: true })
    expect(registry.find('auth', 'key')?.builtin).toBe(false)
    expect(registry.ownersOf('apiKey')).toEqual([])
  })

  test('a service scheme likewise, and the built-in keeps its other uses', async () => {
    const folder = await from()
    const registry = createRegistry(builtins)
    expect((await refused(registry.add('./ssh', { from: folder }))).code).toBe('PLUGIN_CONFLICT')
    expect(registry.find('auth', 'other')).toBeUndefined() // all of a package or nothing
    await registry.add('./ssh', { from: folder, override: true })
    expect(registry.forScheme('ssh')?.entry.name).toBe('ssh-audited')
    expect(registry.find('protocol', 'ssh')?.builtin).toBe(true)
  })

  test('two that are no built-ins never share a name; the same package twice is one', async () => {
    const folder = await from()
    const registry = createRegistry([])
    await registry.add('./a', { from: folder })
    await registry.add(join(folder, 'a'), { from: folder })
    expect((await refused(registry.add('./b', { from: folder, override: true }))).code).toBe('PLUGIN_CONFLICT')
  })
})
