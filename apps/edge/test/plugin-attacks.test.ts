import { type Call, type Logger, PosternError, type Presented } from '@postern/interface'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { verifyAll } from '../src/authorize/verify.ts'
import { Kept } from '../src/plugins/kept.ts'
import { Life } from '../src/plugins/life.ts'
import { KeptRules, KeptVerifier } from '../src/plugins/sides.ts'
import { oddHost, oddPlugin } from './odd-plugin.ts'
import { startWorld } from './world.ts'

const uncaught = vi.fn()
beforeAll(() => void process.on('uncaughtException', uncaught).on('unhandledRejection', uncaught))
afterAll(() => {
  process.off('uncaughtException', uncaught).off('unhandledRejection', uncaught)
  expect(uncaught).not.toHaveBeenCalled()
})

const quiet: Logger = { debug() {}, info() {}, warn() {}, error() {} }
const call: Call = { signal: new AbortController().signal, log: quiet }
const rows = new Map<string, unknown>()
const lent = oddHost(rows, () => Promise.reject(new Error('no network here')))

/** A verifier, or the rules of a protocol, that do what `way` says. */
const SOURCE = (kind: 'auth' | 'protocol', way: string) => `
import { parentPort } from 'node:worker_threads'
const identity = { kind: 'user', issuer: 'https://odd.example', subject: 'ann', claims: {}, revokeKeys: [] }
/** 8 to the power of 12, were it not the same list again and again. */
const folded = () => { let all = ['x']; for (let n = 0; n < 12; n += 1) all = new Array(8).fill(all); return all }
const way = async (log, asked) => { ${way} }
let lent
export default {
  api: 1, kind: '${kind}', side: 'edge', name: 'odd', options: {},
  create: (_, host) => {
    lent = host
    const verify = ({ headers }, { log }) => way(log, headers['x-odd'][0])
    return { verify, check: permit => way(undefined, permit) }
  },
}`

async function keep(way: string, kind: 'auth' | 'protocol' = 'auth'): Promise<Kept> {
  const { file } = await oddPlugin('odd', {}, SOURCE(kind, way))
  const begin = async () => {
    const life = new Life(
      { file, package: 'postern-odd', entry: { kind, name: 'odd', edge: './edge.js' } },
      lent,
      quiet,
      {
        start: 10_000,
        hung: 1500,
      },
    )
    return { life, options: await life.load() }
  }
  const about = { kind, name: 'odd', package: 'postern-odd', values: async () => ({}), scrub: (text: string) => text }
  const kept = await Kept.start({ ...about, begin, log: quiet, firstWait: 20 })
  onTestFinished(() => kept[Symbol.asyncDispose]())
  return kept
}

const presented = (way: string): Presented => ({
  method: 'GET',
  url: '/',
  headers: { 'x-odd': [way] },
  remoteAddress: '127.0.0.1',
})
const verify = (kept: Kept, way: string) =>
  verifyAll(
    [{ name: 'odd', verifier: new KeptVerifier(kept, 'odd', ['x-odd'], () => 'https://team.example') }],
    presented(way),
    call,
  )

const LET_IN = { identities: [{ subject: 'ann' }] }
const DENIED = { refused: 'PLUGIN_FAILED', by: 'odd' }

test('row 113: an answer that is small to send and has no end to copy: denied, and the edge goes on', async () => {
  const kept = await keep(`
    if (asked === 'fine') return { identity: { ...identity, groups: new Array(500).fill('g') } }
    if (asked === 'folded') return { identity: { ...identity, claims: { all: folded() } } }
    if (asked === 'sparse') return { identity: { ...identity, groups: new Array(2 ** 32 - 1) } }`)
  for (const way of ['folded', 'sparse']) {
    expect(await verify(kept, way), way).toMatchObject(DENIED)
    expect(await verify(kept, 'fine')).toMatchObject(LET_IN)
  }
  expect(kept.status.restarts).toBe(0)
})

test('row 113: a row and a log line of the same kind: they cost the thread, and the edge goes on', {
  timeout: 60_000,
}, async () => {
  const kept = await keep(`
    if (asked === 'row') await lent.records.put('a', folded())
    if (asked === 'log') log.info('x', { all: folded() })
    if (asked === 'fine') await lent.records.put('fine', { n: [1] })
    return { identity }`)
  for (const way of ['row', 'log']) {
    await verify(kept, way)
    await expect.poll(() => verify(kept, 'fine'), { timeout: 20_000 }).toMatchObject(LET_IN)
  }
  expect(rows.get('fine')).toEqual({ n: [1] })
})

test('row 113: mistakes in a permit that are a list without end: not saved; a list of texts is read', async () => {
  const kept = await keep(`return asked === 'fine' ? ['one', 'two'] : new Array(2 ** 32 - 1)`, 'protocol')
  const rules = new KeptRules(kept, 'odd')
  expect(await rules.check('fine')).toEqual(['one', 'two'])
  const error = await rules.check('sparse').then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  expect(PosternError.from(error).code).toBe('EDGE_UNAVAILABLE')
})

test('row 113: a person of the team’s own directory is none by the word of a plugin; one of its own issuer is', async () => {
  const source = SOURCE(
    'auth',
    `return { identity: { ...identity, ...(asked === 'team' && { issuer: await lent.keys.issuer() }) } }`,
  )
  const { folder } = await oddPlugin('odd', { reads: ['x-odd'], options: {} }, source)
  await using world = await startWorld({ addPlugins: { packages: [folder], from: '/' } })
  const token = Object.entries(world.headers()).map(([name, value]) => `${name}: ${value}\r\n`)
  const ask = (way: string) =>
    world.ask(`GET / HTTP/1.1\r\nHost: db.localhost\r\nx-odd: ${way}\r\n${token.join('')}\r\n`)
  expect(await ask('team')).toMatchObject({ status: 401, code: 'PLUGIN_FAILED' })
  expect(await ask('its own')).toMatchObject({ status: 426 })
})

test('row 97: what strangers have a verifier count makes nobody forget the guesses at another one', {
  timeout: 60_000,
}, async () => {
  const source = SOURCE(
    'auth',
    `for (let n = 0; n < 10_001; n += 1) await lent.attempts.failed(asked + n); return undefined`,
  )
  const { folder } = await oddPlugin('odd', { reads: ['x-odd'], options: {} }, source)
  await using world = await startWorld({ addPlugins: { packages: [folder], from: '/' } })
  const ask = (lines: string) => world.ask(`GET / HTTP/1.1\r\nHost: db.localhost\r\n${lines}\r\n`)
  const { 'postern-client-id': id = '', 'postern-client-secret': secret = '' } = world.headers()
  const token = (said: string) => `postern-client-id: ${id}\r\npostern-client-secret: ${said}\r\n`
  const wrong = () => ask(token(`${secret.slice(0, -4)}${secret.endsWith('aaaa') ? 'bbbb' : 'aaaa'}`))
  for (let n = 0; n < 60; n += 1) await wrong()
  expect(await wrong()).toMatchObject({ code: 'RATE_LIMITED' })
  await ask('x-odd: stranger\r\n')
  expect(await wrong()).toMatchObject({ code: 'RATE_LIMITED' })
  expect(await ask(token(secret))).toMatchObject({ status: 426 })
})
