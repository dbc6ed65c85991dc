import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { finished } from 'node:stream/promises'
import { type Json, PosternError, type Problem, type ProtocolEvent, type ProtocolServer } from '@postern/interface'
import { leftOpen, type MemoryEnd, memoryPair, recordingLog, resources } from '@postern/testkit'
import { describe, expect, it } from 'vitest'
import { FailureLog } from '../src/failure-log.ts'
import type { DaemonObserver } from '../src/observer.ts'
import { Rules } from '../src/rules.ts'
import { serveStream } from '../src/serve.ts'

const WORDS = 'connect to 10.0.0.7 failed for hunter2'

/** One stream of a user, served by a plugin that does this. */
async function served(
  serve: ProtocolServer['serve'],
  {
    hostname = 'db.example.com',
    gone = new AbortController().signal,
    service = new URL('tcp://10.0.0.7:1'),
    observer = {} as DaemonObserver,
    permit = undefined as Json | undefined,
    protocol = undefined as string | undefined,
  } = {},
) {
  const log = recordingLog()
  const [user, ours] = memoryPair()
  const refusals: Problem[] = []
  user.on('error', () => {})
  ours.on('error', () => {})
  const rules = new Rules([{ hostname: 'db.example.com', service, server: { serve }, ...(protocol && { protocol }) }])
  const offered = {
    header: { hostname, requestId: 'r-1', purpose: 'tcp' as const, ...(permit !== undefined && { permit }) },
    gone,
    accept: () => ours,
    reject: (problem: Problem) => void refusals.push(problem),
  }
  using failures = new FailureLog(log)
  await serveStream(offered, rules, failures, { signal: AbortSignal.timeout(15_000), log }, observer)
  return { user, ours, refusals, log }
}

async function endOf(stream: MemoryEnd): Promise<string> {
  stream.resume()
  return finished(stream, { writable: false }).then(
    () => 'end',
    error => error.code,
  )
}

describe('a stream is refused', () => {
  it('for a hostname without a rule, and no plugin hears of it', async () => {
    let called = 0
    const { refusals } = await served(async () => void called++, { hostname: 'other.example.com' })
    expect(refusals).toMatchObject([{ code: 'INGRESS_NOT_FOUND', requestId: 'r-1', speaker: 'daemon' }])
    expect(called).toBe(0)
  })

  it('with the code of what the plugin throws, never with its words', async () => {
    const { refusals, log } = await served(async () => {
      throw new PosternError('ORIGIN_REFUSED', WORDS, { speaker: 'service' })
    })
    expect(refusals).toMatchObject([{ code: 'ORIGIN_REFUSED', speaker: 'service', requestId: 'r-1' }])
    expect(JSON.stringify(refusals)).not.toMatch(/10\.0\.0\.7|hunter2/)
    expect(log.text()).toContain('10.0.0.7') // where the administrator looks
  })

  it.each([
    ['an exception of nobody’s', () => Promise.reject(new Error(WORDS))],
    ['a text', () => Promise.reject(WORDS)],
    [
      'before it returns a promise',
      () => {
        throw new TypeError(WORDS)
      },
    ],
    [
      'an error of a newer Postern',
      () => Promise.reject(Object.assign(new PosternError('INTERNAL', WORDS), { code: 'OF_TOMORROW' })),
    ],
    ['nothing, and answers nothing', async () => {}],
  ])('INTERNAL, when the plugin throws %s', async (_what, serve) => {
    const { refusals } = await served(serve)
    expect(refusals).toMatchObject([{ code: 'INTERNAL', speaker: 'daemon', title: 'Postern failed' }])
    expect(JSON.stringify(refusals)).not.toMatch(/10\.0\.0\.7|hunter2/)
  })
})

it('a user who leaves while the service is dialled takes the dial along', async () => {
  const service = createServer().listen(0, '127.0.0.1')
  await once(service, 'listening')
  const before = resources()
  const leaving = new AbortController()
  let dialled: Promise<unknown> = Promise.resolve()
  const serving = served(
    async (_offered, remote, call) => {
      dialled = remote.dial({ ...call, signal: new AbortController().signal }) // a plugin that forgets the call's signal
      await dialled
    },
    { gone: leaving.signal, service: new URL(`tcp://127.0.0.1:${(service.address() as AddressInfo).port}`) },
  )
  leaving.abort(new PosternError('STREAM_CUT', 'left')) // before a connection can be there
  await expect(dialled).rejects.toMatchObject({ code: 'STREAM_CUT' })
  await serving
  expect(await leftOpen(before)).toEqual([])
  service.close()
})

describe('an accepted stream', () => {
  it('is cut when the plugin throws, whatever the plugin did with it', async () => {
    const { user, ours, refusals } = await served(async offered => {
      offered.accept().write('half of the answer')
      throw new PosternError('ORIGIN_TIMEOUT', WORDS)
    })
    expect(await endOf(user)).toBe('STREAM_CUT')
    expect(ours.errored).toMatchObject({ code: 'ORIGIN_TIMEOUT' }) // the tunnel tells the code of it, and no more
    expect(refusals).toEqual([])
  })

  it('is cut when the plugin leaves it open: that is no clean end', async () => {
    const { user } = await served(async offered => void offered.accept().write('half'))
    expect(await endOf(user)).toBe('STREAM_CUT')
  })

  it('that the plugin ended is left to end', async () => {
    const { user } = await served(async offered => void offered.accept().end('all of it'))
    let text = ''
    for await (const chunk of user) text += chunk
    expect(text).toBe('all of it')
  })
})

it.each([
  ['what stands below its name', { redis: { commands: ['GET'] }, ssh: {} }, { commands: ['GET'] }],
  ['what is nothing, as it is said', { redis: false }, false],
  ['null, where nothing is said of it', { ssh: {} }, null],
  ['null, where its name is one that every object has', { toString: 1 }, null, 'valueOf'],
  ['null, where nothing is said at all', undefined, null],
  ['the whole, where that is no table: it refuses what it cannot read', ['redis'], ['redis']],
])('of what is permitted a plugin is told %s', async (_what, permit, told, protocol = 'redis') => {
  let seen: Json | undefined
  const serve: ProtocolServer['serve'] = async (offered, remote) => {
    seen = remote.permit
    offered.accept().end()
  }
  await served(serve, { permit, protocol })
  expect(seen).toEqual(told)
})

const NOTED = { level: 'info', message: 'protocol' }

it('a plugin sees who it is; what it notes is logged with the request, and handed on', async () => {
  const notes: ProtocolEvent[] = []
  const { log } = await served(
    async (offered, remote) => {
      expect(remote).toMatchObject({ identities: [], permit: null, service: new URL('tcp://10.0.0.7:1') })
      remote.audit({ action: 'login', allowed: false })
      remote.audit({ action: 'two\nlines', allowed: true, detail: { user: 'ada\u001b[2J' } })
      offered.accept().end()
    },
    { observer: { onNote: (_stream, event) => void notes.push(event) } },
  )
  const about = { hostname: 'db.example.com', requestId: 'r-1' }
  expect(log.lines).toContainEqual({ ...NOTED, fields: { ...about, action: 'login', allowed: false } })
  const detail = '{"user":"ada?[2J"}'
  expect(log.lines).toContainEqual({ ...NOTED, fields: { ...about, action: 'two?lines', allowed: true, detail } })
  expect(notes).toEqual([
    { action: 'login', allowed: false },
    { action: 'two?lines', allowed: true, detail: { user: 'ada?[2J' } },
  ])
})

it('of a plugin that notes without end, so many are kept; what is none harms nobody', async () => {
  const notes: ProtocolEvent[] = []
  const { log, refusals } = await served(
    async (offered, remote) => {
      remote.audit({ action: 7, allowed: 'yes', detail: 1n } as never)
      for (let n = 0; n < 1000; n += 1) remote.audit({ action: 'more', allowed: true })
      offered.accept().end()
    },
    { observer: { onNote: (_stream, event) => void notes.push(event) } },
  )
  expect(notes[0]).toEqual({ action: '7', allowed: false })
  expect(notes).toHaveLength(64)
  expect(log.lines.filter(({ message }) => message === 'protocol')).toHaveLength(64)
  expect(log.text()).toContain('notes more of one stream than is kept')
  expect(refusals).toEqual([])
})
