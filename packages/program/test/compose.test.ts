import { type Call, definePlugin, type ManifestEntry } from '@postern/interface'
import { createRedactor, createSecretReader, parseCommandLine } from '@postern/options'
import { type Builtin, createRegistry } from '@postern/registry'
import { describe, expect, it } from 'vitest'
import { composePlugins, PLUGIN_FLAGS, type Wanted } from '../src/compose.ts'

const warned: string[] = []
const log = { debug() {}, info() {}, error() {}, warn: (message: string) => void warned.push(message) }
const call: Call = { signal: AbortSignal.timeout(15_000), log }
const OWN = { hostname: { type: 'string', summary: 'the application' }, ...PLUGIN_FLAGS } as const

interface Seen {
  readonly loaded: string[]
  readonly created: Record<string, unknown>
  readonly ended: string[]
}

/** An auth plugin with the options that are given, which tells what became of it. */
function auth(
  name: string,
  options: Record<string, { type: 'string' | 'secret'; summary: string }>,
  seen: Seen,
): Builtin {
  const plugin = definePlugin({
    kind: 'auth',
    side: 'client',
    name,
    options,
    create: values => {
      seen.created[name] = values
      return {
        authenticate: async () => ({}),
        async [Symbol.asyncDispose]() {
          seen.ended.push(name)
          if (name === 'careless') throw new Error('it was in use')
        },
      }
    },
  })
  const entry: ManifestEntry = { kind: 'auth', name, client: './client.js', options: { client: Object.keys(options) } }
  const load = async () => {
    seen.loaded.push(name)
    return { default: plugin }
  }
  return { package: `postern-${name}`, entry, load: { client: load } }
}

const text = (summary: string) => ({ type: 'string', summary }) as const
const client = (name: string): Wanted<'auth', 'client'> => ({ kind: 'auth', side: 'client', name })

async function compose(argv: readonly string[], names: readonly string[], env: Record<string, string> = {}) {
  const seen: Seen = { loaded: [], created: {}, ended: [] }
  const registry = createRegistry([
    auth('token', { id: text('an id'), secret: { type: 'secret', summary: 'a secret' } }, seen),
    auth('badge', { id: text('a number'), colour: text('of the badge') }, seen),
    auth('careless', {}, seen),
  ])
  const redactor = createRedactor()
  const sources = { env, cwd: '/', secrets: createSecretReader(undefined), redactor }
  const line = parseCommandLine(argv, OWN)
  const wanted = names.map(client)
  const hosts = { client: {} as never }
  const composed = await composePlugins({ registry, line, own: OWN, wanted, sources, hosts }, call)
  return { seen, composed, redactor }
}

describe('composing plugins', () => {
  it('gives each flag to the plugin it belongs to, and loads no other', async () => {
    const { seen, composed } = await compose(['--id', '7', '--hostname', 'h'], ['token'])
    await composed.create(client('token'))
    expect(seen.loaded).not.toContain('badge')
    expect(seen.created).toEqual({ token: { id: '7', secret: undefined } })
  })

  it('refuses a word that is no flag’s value', async () => {
    await expect(compose(['--id', '7', 'word'], ['token'])).rejects.toMatchObject({
      code: 'BAD_USAGE',
      message: 'nothing is done with "word"',
    })
  })

  it('a flag of two of them is nobody’s, until it says whose', async () => {
    await expect(compose(['--id', '7'], ['token', 'badge'])).rejects.toMatchObject({
      code: 'OPTION_CONFLICT',
      message: '--id belongs to --auth token and to --auth badge',
      next: expect.stringContaining('--token.id or --badge.id'),
    })
    const { seen, composed } = await compose(['--token.id', '7', '--badge.id', '8'], ['token', 'badge'])
    for (const name of ['token', 'badge']) await composed.create(client(name))
    expect(seen.created).toMatchObject({ token: { id: '7' }, badge: { id: '8' } })
  })

  it('a flag of a plugin that is not used names that plugin, without loading it', async () => {
    await expect(compose(['--colour', 'red'], ['token'])).rejects.toMatchObject({
      code: 'OPTION_UNKNOWN',
      message: expect.stringContaining('--auth badge'),
      next: expect.stringContaining('Add --auth badge'),
    })
  })

  it('a flag of nobody names the nearest', async () => {
    await expect(compose(['--secrte', 'x'], ['token'])).rejects.toMatchObject({
      code: 'OPTION_UNKNOWN',
      next: expect.stringContaining('--secret'),
    })
  })

  it('reads a plugin’s variables by its name; a secret that was typed is warned about, and redacted', async () => {
    const { seen, composed, redactor } = await compose(['--secret', 'hunter2hunter2'], ['token'], {
      POSTERN_TOKEN_ID: 'from the environment',
    })
    await composed.create(client('token'))
    expect(seen.created.token).toEqual({ id: 'from the environment', secret: 'hunter2hunter2' })
    expect(composed.warnings).toEqual([expect.stringContaining('--secret-file')])
    expect(composed.warnings.join() + redactor.scrub('it is hunter2hunter2')).not.toContain('hunter2')
  })

  it('ends what it created, the last one first, whatever one of them does', async () => {
    const { seen, composed } = await compose([], ['token', 'careless'])
    for (const name of ['token', 'careless']) await composed.create(client(name))
    await composed[Symbol.asyncDispose]()
    await composed[Symbol.asyncDispose]()
    expect(seen.ended).toEqual(['careless', 'token'])
    expect(warned).toEqual(['a plugin did not end well'])
  })

  it('creates nothing that was not wanted', async () => {
    const { composed } = await compose([], ['token'])
    await expect(composed.create(client('badge'))).rejects.toMatchObject({ code: 'INTERNAL' })
  })

  it('says which plugin there is not', async () => {
    await expect(compose([], ['tokn'])).rejects.toMatchObject({ code: 'PLUGIN_NOT_FOUND' })
  })
})
