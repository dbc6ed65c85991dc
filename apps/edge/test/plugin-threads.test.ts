import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Call, type EdgeHost, type Identity, type Logger, PosternError, type Presented } from '@postern/interface'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { verifyAll } from '../src/authorize/verify.ts'
import { guardedFetch } from '../src/guarded-fetch.ts'
import { Kept, type KeptStatus } from '../src/plugins/kept.ts'
import { Lending } from '../src/plugins/lending.ts'
import { Life } from '../src/plugins/life.ts'
import { KeptVerifier } from '../src/plugins/sides.ts'
import { oddHost, oddPlugin } from './odd-plugin.ts'

const thrown: unknown[] = []
const uncaught = (error: unknown) => void thrown.push(error)
beforeAll(() => void process.on('uncaughtException', uncaught).on('unhandledRejection', uncaught))
afterAll(() => {
  process.off('uncaughtException', uncaught).off('unhandledRejection', uncaught)
  expect(thrown).toEqual([])
})

const quiet: Logger = { debug() {}, info() {}, warn() {}, error() {} }
const call: Call = { signal: new AbortController().signal, log: quiet }
/** Milliseconds. */
const DEADLINE = 800
const lent = oddHost(new Map(), guardedFetch())

interface Wanted {
  /** Milliseconds. */
  readonly hung?: number
  readonly name?: string
  readonly reads?: readonly string[] | undefined
  readonly host?: Partial<EdgeHost>
  readonly log?: Logger
}

/** The odd verifier, kept as an edge keeps it, with short times. */
type Odd = KeptVerifier & { readonly status: KeptStatus }

async function keep({ name = 'odd', hung = DEADLINE + 400, host, log = quiet, ...wanted }: Wanted = {}): Promise<Odd> {
  const reads = 'reads' in wanted ? wanted.reads : [`x-${name}`, 'x-url', ':certificate']
  const entry = { kind: 'auth', name, options: { edge: ['key', 'at'] }, edge: './edge.js' } as const
  const { file } = await oddPlugin(name)
  const begin = async () => {
    const life = new Life({ file, package: `postern-${name}`, entry }, { ...lent, ...host }, log, {
      start: 10_000,
      hung,
    })
    return { life, options: await life.load() }
  }
  const about = { kind: 'auth', name, package: `postern-${name}` } as const
  const values = async () => ({})
  const kept = await Kept.start({ ...about, begin, values, scrub: text => text, log, firstWait: 20 })
  onTestFinished(() => kept[Symbol.asyncDispose]())
  return Object.defineProperty(new KeptVerifier(kept, name, reads, () => 'https://team.example'), 'status', {
    get: () => kept.status,
  }) as Odd
}

const asked = (headers: Readonly<Record<string, string>>): Presented => ({
  method: 'GET',
  url: '/',
  headers: Object.fromEntries(Object.entries(headers).map(([header, value]) => [header, [value]])),
  remoteAddress: '127.0.0.1',
})
const verify = (
  verifiers: Readonly<Record<string, Odd>>,
  headers: Readonly<Record<string, string>>,
  deadline: number = DEADLINE,
) =>
  verifyAll(
    Object.entries(verifiers).map(([name, verifier]) => ({ name, verifier })),
    asked(headers),
    call,
    deadline,
  )
const claimsOf = async (odd: Odd, headers: Readonly<Record<string, string>>) => {
  const verified = await verify({ odd }, headers)
  return 'identities' in verified ? (verified.identities[0] as Identity).claims : verified
}
const isBack = (odd: Odd) =>
  expect
    .poll(() => verify({ odd }, { 'x-odd': 'fine' }), { timeout: 10_000 })
    .toMatchObject({ identities: [{ subject: 'ann' }] })

/** What denies, and the thread goes on. The last one spoils it for itself. */
const OUTLIVED = [
  'throws',
  'throws null',
  'rejects',
  'rejects with a code that is not its to use',
  'returns undefined',
  'returns "true"',
  'says "true"',
  'says {allow: 1}',
  'says a Proxy',
  'hides a Proxy',
  'says a function',
  'is a thenable',
  'is one of Postern',
  'aborts',
  'pollutes Object.prototype',
]
/** What costs its thread. */
const FATAL = [
  'never resolves',
  'never resolves, whatever it is told',
  'blocks its thread for 10 s',
  'waits for its thread for 10 s',
  'has a regular expression that does not end',
  'throws late',
  'rejects late',
  'exits with 0',
  'exits with 1',
  'fills its memory',
  'logs without end',
  'posts nothing',
]

describe('rows 113, 114: a verifier by somebody else, in its own thread, that', () => {
  test.each(FATAL)(
    '%s: denied by its name, another verifier goes on, and it is back',
    { timeout: 60_000 },
    async way => {
      const [odd, other] = [await keep(), await keep({ name: 'other', hung: 20_000 })]
      await isBack(odd)
      const denied = verify({ odd, other }, { 'x-odd': way })
      // Whoever presents nothing of it is neither kept waiting nor denied.
      expect(await verify({ odd, other }, { 'x-other': 'fine' }, 20_000)).toMatchObject({
        identities: [{ issuer: 'https://other.example' }],
      })
      expect(await denied).toMatchObject({ refused: 'PLUGIN_FAILED', by: 'odd', cause: expect.any(String) })
      await expect.poll(() => odd.status.restarts, { timeout: 10_000 }).toBe(1)
      await isBack(odd)
      expect(other.status).toMatchObject({ state: 'running', failed: 0, restarts: 0 })
    },
  )

  test('throws, or returns what is no answer: denied by its name, and asked again', async () => {
    const [odd, other] = [await keep(), await keep({ name: 'other', hung: 20_000 })]
    for (const [n, way] of OUTLIVED.entries()) {
      expect(await verify({ odd }, { 'x-odd': 'fine' }), way).toMatchObject({ identities: [{ subject: 'ann' }] })
      expect(await verify({ odd, other }, { 'x-odd': way, 'x-other': 'fine' }), way).toMatchObject({
        refused: 'PLUGIN_FAILED',
        by: 'odd',
        cause: expect.any(String),
      })
      expect(odd.status, way).toMatchObject({ state: 'running', failed: n + 1, restarts: 0 })
    }
    expect({}).not.toHaveProperty('allow')
    expect([1].map(one => one)).toEqual([1])
    expect(await verify({ odd, other }, { 'x-other': 'fine' }, 20_000)).toMatchObject({
      identities: [{ subject: 'ann' }],
    })
  })

  test('mutates its input: what others see, and what is decided by, is what was sent', async () => {
    const odd = await keep()
    const presented = { ...asked({ 'x-odd': 'mutates its input' }), peerCertificate: new Uint8Array([1, 2, 3]) }
    const before = structuredClone(presented)
    expect(await verifyAll([{ name: 'odd', verifier: odd }], presented, call)).toMatchObject({
      identities: [{ subject: 'ann' }],
    })
    expect(presented).toEqual(before)
  })

  test('ends again and again: it is asked no more, then tried again', async () => {
    const lines: string[] = []
    const odd = await keep({ log: { ...quiet, error: message => void lines.push(message) } })
    for (let n = 1; n <= 5; n += 1) {
      await isBack(odd)
      expect(await verify({ odd }, { 'x-odd': 'exits with 1' })).toMatchObject({ refused: 'PLUGIN_FAILED', by: 'odd' })
      await expect.poll(() => odd.status.because).toContain('exited with 1')
    }
    await expect.poll(() => odd.status.state).toBe('open')
    expect(await verify({ odd }, { 'x-odd': 'fine' })).toMatchObject({ refused: 'PLUGIN_FAILED', by: 'odd' })
    expect(await verify({ odd }, { 'x-other': 'fine' })).toEqual({ identities: [], challenge: {} })
    expect(lines.at(-1)).toContain('again and again')
    await isBack(odd)
    expect(odd.status).toMatchObject({ restarts: 5, state: 'running' })
  })

  test('has more to answer than it can: what is too much is denied, and the rest is answered', async () => {
    const odd = await keep()
    const all = await Promise.all(Array.from({ length: 300 }, () => verify({ odd }, { 'x-odd': 'fine' })))
    expect(all.filter(one => 'identities' in one)).toHaveLength(256)
    expect(all.filter(one => 'refused' in one)).toHaveLength(44)
    await isBack(odd)
  })

  test('logs what cannot be put into words, which a visitor may have sent: the line is there, and the edge', async () => {
    const lines: unknown[] = []
    const odd = await keep({ log: { ...quiet, info: (...line) => void lines.push(line) } })
    expect(await verify({ odd }, { 'x-odd': 'logs what has no text' })).toMatchObject({
      identities: [{ subject: 'ann' }],
    })
    expect(lines).toEqual([['x', { claims: expect.any(String) }]])
    expect(odd.status).toMatchObject({ state: 'running', restarts: 0 })
  })

  test('is asked by somebody who goes away: it is told, and nothing is its fault', async () => {
    const odd = await keep()
    const gone = new AbortController()
    const leaving = odd.verify(asked({ 'x-odd': 'slow' }), { ...call, signal: gone.signal })
    gone.abort(new Error('gone'))
    await expect(leaving).rejects.toThrow('gone')
    await isBack(odd)
    expect(odd.status).toMatchObject({ failed: 0, restarts: 0 })
  })
})

describe('row 116: while its thread is started again', () => {
  test('everybody who presents something of it is denied or let in, nobody is taken for who presented nothing', async () => {
    const odd = await keep()
    const seen = new Set<string>()
    const until = performance.now() + 1000
    for (let n = 0; performance.now() < until; n += 1) {
      if (n % 20 === 10) void verify({ odd }, { 'x-odd': 'exits with 0' })
      const said = await verify({ odd }, { 'x-odd': 'fine' })
      seen.add('refused' in said ? said.refused : `${said.identities.length} identities`)
      await new Promise(resolve => setTimeout(resolve, 1))
    }
    expect([...seen].sort()).toEqual(['1 identities', 'PLUGIN_FAILED'])
  })
})

describe('what it is shown and lent', () => {
  test('what it says it reads, and nothing else; without that, everything', async () => {
    const odd = await keep()
    const headers = { 'x-odd': 'sees', cookie: 'session=1', 'postern-client-secret': 'psts_x' }
    expect(await claimsOf(odd, headers)).toEqual({ headers: ['x-odd'], method: 'GET' })
    const all = await keep({ reads: undefined })
    expect(await claimsOf(all, headers)).toMatchObject({ headers: ['cookie', 'postern-client-secret', 'x-odd'] })
  })

  test('nothing of the edge’s environment', async () => {
    expect(await claimsOf(await keep(), { 'x-odd': 'environment' })).toEqual({ names: [], cwd: 'string' })
  })

  test('its rows, the team’s keys, and counts of attempts', async () => {
    const odd = await keep()
    expect(await claimsOf(odd, { 'x-odd': 'rows' })).toEqual({
      one: { n: 1 },
      none: true,
      list: [['a/1', { n: 1 }]],
      issuer: 'https://team.example',
      keys: true,
    })
    expect(await claimsOf(odd, { 'x-odd': 'guesses' })).toEqual({ allowed: false, others: true })
  })

  test('row 117: a fetch that asks no private address, whoever says which', async () => {
    const server = createServer((request, response) =>
      response.setHeader('content-type', 'text/x').end(request.headers['x-who']),
    )
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void server.close())
    const place = `127.0.0.1:${(server.address() as AddressInfo).port}`
    const odd = await keep()
    for (const url of [`http://${place}/`, `https://${place}/`, 'https://169.254.169.254/latest', 'file:///etc/passwd'])
      expect(await claimsOf(odd, { 'x-odd': 'fetches', 'x-url': url })).toMatchObject({
        refused: 'PLUGIN_FAILED',
        cause: expect.stringContaining('the edge does not ask'),
      })
    const allowed = await keep({ host: { fetch: guardedFetch({ allowPrivate: [place] }) } })
    const claims = await claimsOf(allowed, { 'x-odd': 'fetches', 'x-url': `http://${place}/` })
    expect(claims).toEqual({ status: 200, text: 'me', type: 'text/x' })
  })
})

test('what is lent: no more at once than may be, whatever the questions are called, and bytes alone for a body', async () => {
  const bodies: unknown[] = []
  const fetch = (_: unknown, { body }: RequestInit) => {
    bodies.push(body)
    return new Promise<never>(() => {})
  }
  const replies: number[] = []
  const lending = new Lending({ ...lent, fetch }, id => void replies.push(id))
  const asking = { url: 'https://a.example', method: 'POST', headers: [], redirect: 'follow', body: 5 }
  for (let n = 0; n < 300; n += 1) void lending.answer(1, 'fetch', [asking])
  for (let n = 0; n < 300; n += 1) void lending.answer(n, 'fetch', [asking])
  await expect.poll(() => replies.length).toBe(299 + 45)
  expect(bodies).toEqual(new Array(256).fill(undefined))
  lending[Symbol.dispose]()
})

describe('a start that fails says why, and leaves no thread', () => {
  const begin = async (source: string) => {
    const { file } = await oddPlugin('odd', {}, source)
    const entry = { kind: 'auth', name: 'odd', edge: './edge.js' } as const
    // Only who never comes is waited for to the end; on a busy machine a thread needs seconds.
    const start = source.includes('for (;;)') ? 1500 : 20_000
    const life = new Life({ file, package: 'odd', entry }, lent, quiet, { start, hung: DEADLINE })
    try {
      await life.load()
      await life.create({})
      return 'started'
    } catch (error) {
      return PosternError.from(error).code
    } finally {
      await life.end()
      expect(await life.gone).not.toBe('')
    }
  }
  const whole = (create: string) =>
    `export default { api: 1, kind: 'auth', side: 'edge', name: 'odd', options: {}, create: ${create} }`
  test.each([
    ['it is one', whole('() => ({ verify: async () => undefined })'), 'started'],
    ['its module throws', 'throw new Error("x")', 'PLUGIN_LOAD'],
    ['its module blocks', 'for (;;);', 'PLUGIN_LOAD'],
    ['its module exits', 'process.exit()', 'PLUGIN_LOAD'],
    ['its module is of another API', 'export default { api: 2 }', 'PLUGIN_API'],
    ['create throws', whole('() => { throw new Error("x") }'), 'PLUGIN_CREATE'],
    ['create blocks', whole('() => { for (;;); }'), 'PLUGIN_LOAD'],
    ['create makes no verifier', whole('() => ({})'), 'PLUGIN_SHAPE'],
  ])('%s', async (_, source, code) => {
    expect(await begin(source)).toBe(code)
  })
})
