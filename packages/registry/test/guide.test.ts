import { mkdir, readFile, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { EdgeHost } from '@postern/interface'
import { expect, test } from 'vitest'
import { createRegistry } from '../src/index.ts'
import { call, emptyFolder, host, refused, writePackage } from './packages.ts'

const root = fileURLToPath(new URL('../../../', import.meta.url))

test('the plugin in docs/plugins/README.md works as it is printed there', async () => {
  const guide = await readFile(join(root, 'docs/plugins/README.md'), 'utf8')
  const blocks = [...guide.matchAll(/```(?:json|js)\n([\s\S]*?)```/g)].map(match => match[1] ?? '')
  const [manifest = '', client = '', edge = ''] = blocks
  const project = await emptyFolder()
  await writePackage(join(project, 'postern-auth-api-key'), {
    'package.json': manifest,
    'client.js': client,
    'edge.js': edge,
  })
  await mkdir(join(project, 'node_modules/@postern'), { recursive: true })
  await symlink(join(root, 'packages/interface'), join(project, 'node_modules/@postern/interface'))

  const registry = createRegistry([])
  await registry.add('./postern-auth-api-key', { from: project })
  expect(registry.ownersOf('people')).toEqual([{ kind: 'auth', name: 'api-key', side: 'edge' }])
  expect(registry.ownersOf('key')).toEqual([{ kind: 'auth', name: 'api-key', side: 'client' }])
  const provider = await registry.create('auth', 'api-key', 'client', { key: 'k1' }, host, call)
  expect(await provider.authenticate({ purpose: 'connector', teamDomain: 'x' }, call)).toEqual({
    headers: { 'x-api-key': 'k1' },
  })

  const { createHash } = await import('node:crypto')
  const people = ['alice', 'bob'].map(name => `${name}=${createHash('sha256').update(`of ${name}`).digest('hex')}`)
  const edgeHost = {
    records: { get: async () => undefined, list: async () => new Map(), put: async () => {}, delete: async () => {} },
    attempts: { allow: async () => true, failed: async () => {} },
    keys: { jwks: async () => null, issuer: async () => '' },
    fetch: () => Promise.reject(new Error('no network here')),
  } satisfies EdgeHost
  const verifier = await registry.create('auth', 'api-key', 'edge', { people: people.join('\n') }, edgeHost, call)
  const verify = (...keys: string[]) =>
    verifier.verify(
      { method: 'GET', url: '/', headers: keys.length > 0 ? { 'x-api-key': keys } : {}, remoteAddress: '127.0.0.1' },
      call,
    )
  expect(await verify('of alice')).toMatchObject({ identity: { subject: 'alice' } })
  expect(await verify('of bob')).toMatchObject({ identity: { subject: 'bob' } })
  expect(await verify()).toBeUndefined()
  expect((await refused(verify('k2'))).code).toBe('AUTH_REJECTED')
  expect((await refused(verify('of bob', 'of bob'))).code).toBe('BAD_USAGE')
})
