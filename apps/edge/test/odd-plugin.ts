import { mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { EdgeHost } from '@postern/interface'
import { onTestFinished } from 'vitest'
import { FailureCounter } from '../src/authorize/attempts.ts'

/** A verifier that does what the header `x-<its name>` says. */
const EDGE = (name: string) => `
import { parentPort } from 'node:worker_threads'
const identity = { kind: 'user', issuer: 'https://${name}.example', subject: 'ann', claims: {}, revokeKeys: [] }
const told = claims => ({ identity: { ...identity, claims } })
const blocked = ms => { for (const until = Date.now() + ms; Date.now() < until; ); }
const ways = {
  fine: async () => ({ identity }),
  'throws': () => { throw new Error('boom') },
  'throws null': () => { throw null },
  'rejects': async () => { throw new Error('boom') },
  'rejects with a code that is not its to use': async () => { throw Object.assign(new Error('x'), { code: 'NOT_FOUND' }) },
  'never resolves': () => new Promise(() => {}),
  'never resolves, whatever it is told': ({ signal }) => new Promise(() => signal.addEventListener('abort', () => {})),
  'blocks its thread for 10 s': async () => { blocked(10_000); return { identity } },
  'waits for its thread for 10 s': async () => { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10_000) },
  'has a regular expression that does not end': async () => /^(a+)+$/.test('a'.repeat(50) + '!') ? { identity } : undefined,
  'returns undefined': () => undefined,
  'returns "true"': () => 'true',
  'says "true"': async () => 'true',
  'says {allow: 1}': async () => ({ allow: 1 }),
  'says a Proxy': async () => new Proxy({ identity }, {}),
  'hides a Proxy': async () => ({ identity: new Proxy(identity, {}) }),
  'says a function': async () => () => ({ identity }),
  'is a thenable': () => ({ then: done => done({ identity }) }),
  'is one of Postern': async () => ({ identity: { ...identity, issuer: 'postern:service-token' } }),
  'mutates its input': async (call, presented) => {
    presented.method = 'BREW'
    presented.headers['x-other'] = ['fine']
    presented.peerCertificate?.fill(0)
    return { identity }
  },
  'pollutes Object.prototype': async () => {
    Object.prototype.identity = identity
    Object.prototype.allow = true
    Array.prototype.map = () => [identity]
    return {}
  },
  'throws late': async () => { setTimeout(() => { throw new Error('late') }, 20); return new Promise(() => {}) },
  'rejects late': async () => { setTimeout(() => Promise.reject(new Error('late')), 20); return new Promise(() => {}) },
  'exits with 0': () => process.exit(0),
  'exits with 1': async () => process.exit(1),
  'aborts': async () => process.abort(),
  'fills its memory': async () => { const all = []; for (;;) all.push(new Array(1e6).fill(all.length)) },
  'logs without end': async ({ log }) => { for (;;) log.info('x') },
  'posts nothing': () => { parentPort.postMessage(null); return new Promise(() => {}) },
  'logs what has no text': async ({ log }) => {
    log.info('x', { claims: JSON.parse('{"toString": null}') })
    return { identity }
  },
  slow: async ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
  sees: async (call, presented) => told({ headers: Object.keys(presented.headers).sort(), method: presented.method }),
  environment: async () => told({ names: Object.keys(process.env), cwd: typeof process.cwd() }),
  fetches: async ({ signal }, presented) => {
    const answer = await lent.fetch(new URL(presented.headers['x-url'][0]), { signal, headers: { 'x-who': 'me' } })
    return told({ status: answer.status, text: await answer.text(), type: answer.headers.get('content-type') })
  },
  rows: async () => {
    await lent.records.put('a/1', { n: 1 })
    await lent.records.put('a/2', [2])
    await lent.records.delete('a/2')
    const list = await lent.records.list('a/')
    const keys = await lent.keys.jwks()
    return told({ one: await lent.records.get('a/1'), none: (await lent.records.get('b')) === undefined,
      list: [...list], issuer: await lent.keys.issuer(), keys: keys.keys.length > 0 })
  },
  guesses: async () => {
    for (let n = 0; n < 200 && (await lent.attempts.allow('me')); n += 1) await lent.attempts.failed('me')
    return told({ allowed: await lent.attempts.allow('me'), others: await lent.attempts.allow('you') })
  },
  'tells its secret': async ({ log }) => {
    log.warn('my key is ' + options.key, { key: options.key })
    console.log(options.key)
    throw new Error('wrong: ' + options.key)
  },
  options: async () => told({ at: options.at?.href ?? null, isUrl: options.at instanceof URL, key: options.key ?? null }),
}
let lent
let options
export default {
  api: 1, kind: 'auth', side: 'edge', name: '${name}',
  options: { key: { type: 'secret', summary: 'a key' }, at: { type: 'url', summary: 'a URL' } },
  create: (values, host) => {
    lent = host
    options = values
    return {
      verify: (presented, call) => {
        const [way] = presented.headers['x-${name}'] ?? []
        return way === undefined ? Promise.resolve(undefined) : ways[way](call, presented)
      },
    }
  },
}
`

export interface OddPlugin {
  readonly folder: string
  readonly file: string
}

/** A package with that verifier, in a folder of its own. */
export async function oddPlugin(
  name = 'odd',
  entry: Readonly<Record<string, unknown>> = { reads: [`x-${name}`, 'x-url'] },
  source: string = EDGE(name),
): Promise<OddPlugin> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'postern-odd-')))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const plugin = { kind: 'auth', name, options: { edge: ['key', 'at'] }, edge: './edge.js', ...entry }
  const manifest = {
    name: `postern-auth-${name}`,
    version: '1.0.0',
    type: 'module',
    postern: { api: 1, plugins: [plugin] },
  }
  await writeFile(join(folder, 'package.json'), JSON.stringify(manifest))
  await writeFile(join(folder, 'edge.js'), source)
  return { folder, file: join(folder, 'edge.js') }
}

/** What an edge lends it, whose rows are in memory. */
export function oddHost(rows: Map<string, unknown>, fetch: EdgeHost['fetch']): EdgeHost {
  return {
    records: {
      get: async id => rows.get(id) as never,
      list: async prefix => new Map([...rows].filter(([id]) => id.startsWith(prefix))) as never,
      put: async (id, value) => void rows.set(id, value),
      delete: async id => void rows.delete(id),
    },
    keys: { jwks: async () => ({ keys: [{}] }), issuer: async () => 'https://team.example' },
    attempts: new FailureCounter().of('odd'),
    fetch,
  }
}
