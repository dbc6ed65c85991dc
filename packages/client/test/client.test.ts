import type { Duplex } from 'node:stream'
import { definePlugin, problem } from '@postern/interface'
import { everythingSaid, leftOpen, type MemoryEdge, memoryEdge, recordingLog, resources } from '@postern/testkit'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Client, type ClientOptions, createClient, PosternError, use } from '../src/index.ts'

const log = recordingLog()
const SECRET = 'the-secret-of-this-program'
const PIN = `sha256:${'a'.repeat(64)}`

const token = definePlugin({
  kind: 'auth',
  side: 'client',
  name: 'token',
  options: { secret: { type: 'secret', summary: 'what is sent', required: true } },
  create: ({ secret }) => ({ authenticate: async () => ({ headers: { 'x-secret': secret } }) }),
})

let before = resources()
let edge: MemoryEdge
let created: string[]
let disposed: number
let clients: Client[]
beforeEach(async () => {
  before = resources()
  edge = await memoryEdge(log)
  created = []
  disposed = 0
  clients = []
})
afterEach(async () => {
  await Promise.all(clients.map(one => one.close()))
  await edge[Symbol.asyncDispose]()
  expect(await leftOpen(before)).toEqual([])
  expect(log.text()).not.toContain(SECRET)
})

/** By way of memory. It counts how often it is created, and ended. */
const memory = () =>
  definePlugin({
    kind: 'transport',
    side: 'client',
    name: 'memory',
    options: {},
    create: () => {
      created.push('memory')
      return { ...edge.transport, [Symbol.asyncDispose]: async () => void disposed++ }
    },
  })

function client(more: Partial<ClientOptions> = {}): Client {
  const made = createClient({ auth: use(token, { secret: SECRET }), transport: memory(), log, ...more })
  clients.push(made)
  return made
}

async function echoed(stream: Duplex, text: string): Promise<string> {
  stream.end(text)
  let back = ''
  for await (const chunk of stream) back += chunk
  return back
}

describe('createClient()', () => {
  it('opens a stream by hostname, with the credential of an imported plugin', async () => {
    expect(await echoed(await client().open('db.example.com'), 'hello')).toBe('hello')
    expect(edge.arrivals[0]).toMatchObject({ host: 'db.example.com', presented: { headers: { 'x-secret': [SECRET] } } })
  })

  it('dials nothing and creates no plugin before the first open', async () => {
    client()
    expect([created, edge.arrivals]).toEqual([[], []])
  })

  it('shares one session for each application, however it is spelled', async () => {
    const postern = client()
    const names = [
      'db.example.com',
      'DB.example.com',
      'db.example.com:443',
      'wiki.example.com',
      'wiki.example.com:8443',
    ]
    const streams = await Promise.all([...names, ...names].map(name => postern.open(name)))
    expect(await Promise.all(streams.map((stream, at) => echoed(stream, `${at}`)))).toEqual(
      streams.map((_, at) => `${at}`),
    )
    expect(edge.arrivals.map(({ host }) => host).sort()).toEqual([
      'db.example.com',
      'wiki.example.com',
      'wiki.example.com',
    ])
    expect(created).toHaveLength(3)
  })

  it('makes a lost session anew with the next open, and the open streams of the lost one are cut', async () => {
    const postern = client()
    const cut = await postern.open('db.example.com')
    const error = new Promise<Error>(resolve => cut.once('error', resolve))
    edge.kill()
    expect(PosternError.is(await error)).toBe(true)
    expect(await echoed(await postern.open('db.example.com'), 'again')).toBe('again')
    expect(edge.arrivals).toHaveLength(2)
  })

  it('tells a refusal with its code, its speaker and advice, and is asked anew', async () => {
    const postern = client()
    edge.admit = () => ({ problem: problem('ACCESS_DENIED', 'r-7', { speaker: 'edge' }) })
    const error = await postern.open('db.example.com').catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'ACCESS_DENIED', speaker: 'edge', requestId: 'r-7', next: expect.any(String) })
    expect(everythingSaid(error)).not.toContain(SECRET)
    edge.admit = () => ({})
    expect(await echoed(await postern.open('db.example.com'), 'yes')).toBe('yes')
  })

  it('an abort gives the opening up with its reason; others who wait, and the next, are none the worse', async () => {
    const postern = client()
    const { promise, resolve } = Promise.withResolvers<void>()
    edge.admit = () => promise.then(() => ({}))
    const stop = new AbortController()
    const mine = postern.open('db.example.com', { signal: stop.signal })
    const other = postern.open('db.example.com')
    stop.abort(new Error('enough'))
    await expect(mine).rejects.toThrow('enough')
    resolve()
    expect(await echoed(await other, 'still here')).toBe('still here')
    await expect(postern.open('db.example.com', { signal: AbortSignal.abort(new Error('never')) })).rejects.toThrow(
      'never',
    )
    expect(edge.arrivals).toHaveLength(1)
  })

  it('close() ends sessions, streams and plugins, and what comes after it is refused', async () => {
    const postern = client()
    const stream = await postern.open('db.example.com')
    const over = new Promise(resolve => stream.once('close', resolve))
    stream.on('error', () => {})
    await Promise.all([postern.close(), postern.close()])
    await over
    expect([edge.tunnels.length, disposed]).toEqual([0, 1])
    await expect(postern.open('db.example.com')).rejects.toMatchObject({ code: 'SESSION_LOST', message: /closed/ })
  })

  it('close() lets what was written and ended get across first; what is only listened to is cut', async () => {
    const postern = client()
    let heard = ''
    const { promise, resolve } = Promise.withResolvers<void>()
    edge.onStream = offered => {
      const stream = offered.accept()
      stream.on('error', () => {}).on('data', chunk => (heard += chunk))
      stream.on('end', () => setTimeout(() => stream.end('bye'), 50).unref()).on('close', resolve)
    }
    const stream = await postern.open('db.example.com')
    stream.resume().end('x'.repeat(1 << 20))
    await postern.close()
    await promise
    expect(heard.length).toBe(1 << 20)
    const listening = client()
    const idle = await listening.open('db.example.com')
    idle.on('error', () => {})
    await listening.close()
    expect(idle.destroyed).toBe(true)
  })

  it('takes an object of one’s own that authenticates, several together, and nobody at all', async () => {
    const own = { authenticate: async () => ({ headers: { 'x-own': 'yes' } }) }
    await client({ auth: [own, use(token, { secret: SECRET })] }).open('db.example.com')
    await client({ auth: [] }).open('db.example.com')
    const [both, nobody] = edge.arrivals
    expect(both?.presented.headers).toMatchObject({ 'x-own': ['yes'], 'x-secret': [SECRET] })
    expect(nobody?.presented.headers).not.toHaveProperty('x-secret')
  })

  it('a plugin that cannot start says so, each time, and holds up no other application', async () => {
    let good = false
    const moody = definePlugin({
      kind: 'auth',
      side: 'client',
      name: 'moody',
      options: {},
      create: () => {
        if (!good) throw new PosternError('FILE_UNREADABLE', 'its file is not there')
        return { authenticate: async () => ({}) }
      },
    })
    const postern = client({ auth: moody })
    for (let go = 0; go < 2; go++)
      await expect(postern.open('db.example.com')).rejects.toMatchObject({ code: 'FILE_UNREADABLE' })
    good = true
    expect(await echoed(await postern.open('db.example.com'), 'now')).toBe('now')
  })

  it('lends plugins secrets of its own and nobody to ask, or what it was given', async () => {
    const asking = definePlugin({
      kind: 'auth',
      side: 'client',
      name: 'asking',
      options: {},
      create: (_, { secrets, ui }) => ({
        async authenticate(_request, call) {
          const kept = await secrets.get('word')
          const word = kept ?? (await ui.ask('Which word?', { secret: true }, call))
          await secrets.exclusively('word', () => secrets.set('word', word), call)
          return { headers: { 'x-word': word } }
        },
      }),
    })
    const deaf = client({ auth: asking })
    await expect(deaf.open('db.example.com')).rejects.toMatchObject({ code: 'LOGIN_REQUIRED' })
    const asked: string[] = []
    const ui = {
      show() {},
      open: async () => false,
      ask: async (question: string) => {
        asked.push(question)
        return 'please'
      },
    }
    const postern = client({ auth: asking, lend: { ui } })
    for (const name of ['db.example.com', 'wiki.example.com']) await postern.open(name)
    expect(asked).toEqual(['Which word?'])
    expect(edge.arrivals.map(({ presented }) => presented.headers['x-word'])).toEqual([['please'], ['please']])
  })
})

describe('end to end', () => {
  const purposes = () => edge.arrivals.map(({ purpose }) => purpose)

  it('is asked for by default and taken where it is offered; false asks for nothing', async () => {
    await client().open('db.example.com')
    await client({ endToEnd: false }).open('db.example.com')
    expect(purposes()).toEqual(['join', 'session'])
  })

  it.each<[string, ClientOptions['endToEnd']]>([
    ['required', { required: true }],
    ['a pin', { pins: { 'DB.example.com': PIN.toUpperCase().replace('SHA', 'sha') } }],
    ['a store that has one', { pins: { get: async () => PIN, keep: async () => {} } }],
  ])('with %s nothing goes through an edge that could read it', async (_name, endToEnd) => {
    await expect(client({ endToEnd: endToEnd! }).open('db.example.com')).rejects.toMatchObject({
      code: 'MODE_FORBIDDEN',
    })
  })

  it('a pin is for its own hostname, whichever port', async () => {
    const postern = client({ endToEnd: { pins: { 'db.example.com': PIN } } })
    expect(await echoed(await postern.open('wiki.example.com'), 'hello')).toBe('hello')
    await expect(postern.open('db.example.com:8443')).rejects.toMatchObject({ code: 'MODE_FORBIDDEN' })
  })

  it.each(['sha256:9f0c', 'a'.repeat(64), ''])('%j is no pin', pin => {
    expect(() => client({ endToEnd: { pins: { 'db.example.com': pin } } })).toThrow(/not sha256: and 64/)
  })
})

describe('what a client is not made of', () => {
  const wrong: readonly [string, () => unknown, string][] = [
    ['no transport', () => client({ transport: [] }), 'BAD_USAGE'],
    ['an auth plugin as transport', () => client({ transport: use(token, { secret: 'x' }) as never }), 'PLUGIN_SIDE'],
    ['the edge side of a plugin', () => client({ auth: { ...token, side: 'edge' } as never }), 'PLUGIN_SIDE'],
    ['a plugin of another API', () => use({ ...token, api: 99 } as never, {} as never), 'PLUGIN_API'],
    ['a text', () => client({ auth: 'service-token' as never }), 'BAD_USAGE'],
    ['nothing', () => client({ auth: undefined as never }), 'BAD_USAGE'],
    ['a plugin whose option is missing', () => client({ auth: token as never }), 'OPTION_MISSING'],
    ['an unknown option', () => use(token, { secret: 'x', secrets: SECRET } as never), 'OPTION_UNKNOWN'],
    ['an empty secret', () => use(token, { secret: '' }), 'OPTION_INVALID'],
    ['a secret of another type', () => use(token, { secret: [SECRET] as never }), 'OPTION_INVALID'],
  ]
  it.each(wrong)('%s', (_name, make, code) => {
    let thrown: unknown
    try {
      make()
    } catch (error) {
      thrown = error
    }
    expect(thrown).toMatchObject({ code })
    expect(everythingSaid(thrown)).not.toContain(SECRET)
  })

  it.each(['10.0.0.1', 'https://db.example.com', 'db example', ''])('the hostname %j', async name => {
    await expect(client().open(name)).rejects.toMatchObject({ code: 'HOSTNAME_INVALID' })
    expect(() => client().socket(name)).toThrow(PosternError)
  })
})

it('use() gives a plugin its options as their types say, and defaults for those that are not given', async () => {
  const seen: unknown[] = []
  const all = definePlugin({
    kind: 'auth',
    side: 'client',
    name: 'all',
    options: {
      file: { type: 'path', summary: 'a file' },
      wait: { type: 'duration', summary: 'a time', default: '5m' },
      at: { type: 'url', summary: 'a place', default: 'https://example.com' },
      often: { type: 'number', summary: 'a count', default: 3 },
      loud: { type: 'boolean', summary: 'a choice', default: false },
      word: { type: 'string', summary: 'a word' },
    },
    create: options => {
      seen.push(options)
      return { authenticate: async () => ({}) }
    },
  })
  await use(all).create({} as never)
  await use(all, { file: 'x', wait: 7, at: new URL('https://example.org'), often: 0, loud: true, word: 'w' }).create(
    {} as never,
  )
  expect(seen).toEqual([
    { wait: 300_000, at: new URL('https://example.com'), often: 3, loud: false, file: undefined, word: undefined },
    { file: `${process.cwd()}/x`, wait: 7, at: new URL('https://example.org'), often: 0, loud: true, word: 'w' },
  ])
  expect(() => use(all, { at: 'https://example.org' as never })).toThrow('at is of type string, not a URL object')
})
