import { PassThrough } from 'node:stream'
import type { SessionNews } from '@postern/client'
import { type Call, type Code, type LocalListener, type LocalSide, PosternError } from '@postern/interface'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { Keeper } from '../src/up/keeper.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }
const error = (code: Code, cause?: string) =>
  new PosternError(code, code, cause ? { cause: Object.assign(new Error(cause), { code: cause }) } : {})
const aborted = (signal: AbortSignal) =>
  new Promise<never>((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason)
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })

/** A forward whose client, listener and protocol do as they are told. Time is the test’s. */
function forward(how: { readonly listens?: readonly (Code | string | undefined)[] } = {}) {
  vi.useFakeTimers()
  const answers: (Code | undefined)[] = []
  const seen: string[] = []
  const did = { connects: 0, stays: 0, listens: 0, closed: 0 }
  const stop = new AbortController()
  let local: LocalSide | undefined
  let serves = Promise.withResolvers<void>()
  const tell = (news: SessionNews) => keeper.hear(news)
  const client = {
    app: { hostname: 'a.b', id: '', teamDomain: '', protocols: [] },
    async connect() {
      did.connects += 1
      const code = answers.shift()
      if (code === undefined) return tell({ state: 'connected', transport: 'tls', mode: 'hop' })
      tell({ state: 'failed', error: error(code), again: false })
      throw error(code)
    },
    async stay({ signal }: Call) {
      did.stays += 1
      return aborted(signal)
    },
    open: async () => new PassThrough(),
  }
  const protocol = {
    connect: async (side: LocalSide, { signal }: Call) => {
      local = side
      await Promise.race([serves.promise, aborted(signal)])
    },
  }
  const listen = async (_call: Call, enough: AbortSignal): Promise<LocalListener & AsyncDisposable> => {
    did.listens += 1
    const wrong = how.listens?.[did.listens - 1]
    if (wrong) throw error('LISTEN_FAILED', wrong)
    enough.addEventListener('abort', () => serves.resolve()) // as serveLocal does, once its connections are over
    return {
      address: '127.0.0.1:1',
      async *connections() {},
      [Symbol.asyncDispose]: async () => void (did.closed += 1),
    }
  }
  const keeper: Keeper = new Keeper('127.0.0.1:0', {
    client,
    protocol,
    listen,
    stdio: new PassThrough(),
    log,
    changed: () => {
      const { status } = keeper
      const one = 'error' in status ? `${status.state} ${status.error.code}` : status.state
      if (seen.at(-1) !== one) seen.push(one)
    },
  })
  const over = keeper.run({ log, signal: stop.signal })
  return {
    keeper,
    over,
    stop,
    seen,
    did,
    answers,
    tell,
    local: () => local,
    protocol: {
      ends: () => serves.resolve(),
      fails: (code: Code) => {
        const failing = serves
        serves = Promise.withResolvers()
        failing.reject(error(code))
      },
    },
    passing: (ms: number) => vi.advanceTimersByTimeAsync(ms),
  }
}

afterEach(() => vi.useRealTimers())

describe('a forward that is kept up', () => {
  it('listens, signs in, stays; Ctrl-C ends it and its listener', async () => {
    const one = forward()
    await one.passing(0)
    expect([one.seen, one.keeper.address, one.did]).toEqual([
      ['connecting', 'up'],
      '127.0.0.1:1',
      { connects: 1, stays: 1, listens: 1, closed: 0 },
    ])
    one.keeper.finish()
    await one.over
    expect([one.seen, one.did.closed]).toEqual([['connecting', 'up', 'ending', 'ended'], 1])
  })

  it('a port that is taken is tried again until it is free', async () => {
    const one = forward({ listens: ['EADDRINUSE', 'EADDRINUSE'] })
    await one.passing(0)
    expect(one.seen).toEqual(['retrying LISTEN_FAILED'])
    await one.passing(30_000)
    expect(one.seen).toEqual(['retrying LISTEN_FAILED', 'connecting', 'up'])
    expect(one.did).toEqual({ connects: 1, stays: 1, listens: 3, closed: 0 })
  })

  it('a port that this user may not have is not', async () => {
    const one = forward({ listens: ['EACCES'] })
    await one.over
    await one.passing(60_000)
    expect([one.seen, one.did.listens]).toEqual([['failed LISTEN_FAILED'], 1])
  })

  it('Ctrl-C does not wait for a port', async () => {
    const one = forward({ listens: Array.from({ length: 99 }, () => 'EADDRINUSE') })
    await one.passing(0)
    one.keeper.finish()
    await one.over
    expect(one.seen).toEqual(['retrying LISTEN_FAILED', 'ending', 'ended'])
  })

  it.each(['ACCESS_DENIED', 'NOT_FOUND', 'TOKEN_REVOKED', 'TUNNEL_KEY_CHANGED'] as const)(
    '%s is final: it is said, not asked again, and nothing listens any more',
    async code => {
      const one = forward()
      one.answers.push(code)
      await one.over
      await one.passing(600_000)
      expect(one.seen).toEqual(['connecting', `failed ${code}`])
      expect(one.did).toEqual({ connects: 1, stays: 0, listens: 1, closed: 1 })
    },
  )

  it.each(['TUNNEL_OFFLINE', 'EDGE_UNREACHABLE', 'EDGE_UNTRUSTED', 'RATE_LIMITED'] as const)(
    '%s is not: the client goes on with it',
    async code => {
      const one = forward()
      one.answers.push(code)
      await one.passing(0)
      expect([one.seen, one.did.stays]).toEqual([['connecting', `retrying ${code}`], 1])
      one.tell({ state: 'connected', transport: 'websocket', mode: 'end-to-end' })
      expect(one.keeper.status).toEqual({ state: 'up', transport: 'websocket', mode: 'end-to-end' })
      one.tell({ state: 'lost', error: error('SESSION_LOST'), again: true })
      one.tell({ state: 'failed', error: error('EDGE_UNREACHABLE'), again: true })
      one.tell({ state: 'connected', transport: 'tls', mode: 'end-to-end' })
      expect(one.seen.slice(-3)).toEqual(['retrying SESSION_LOST', 'retrying EDGE_UNREACHABLE', 'up'])
      expect(one.did.stays).toBe(1)
    },
  )

  it('access that ended is asked for once more, after a while; what is answered then is final', async () => {
    const one = forward()
    await one.passing(0)
    one.tell({ state: 'lost', error: error('ACCESS_ENDED'), again: false })
    await one.passing(0)
    expect([one.seen.at(-1), one.did.stays]).toEqual(['retrying ACCESS_ENDED', 1])
    await one.passing(1_000)
    expect(one.did.stays).toBe(2) // the client makes another session by itself
    one.tell({ state: 'failed', error: error('AUTH_REJECTED'), again: false })
    await one.over
    expect(one.seen).toEqual(['connecting', 'up', 'retrying ACCESS_ENDED', 'failed AUTH_REJECTED'])
  })

  it('access that ends again and again is asked for less and less often', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0.99)
    const one = forward()
    await one.passing(0)
    for (let at = 0; at < 60; at += 1) {
      one.tell({ state: 'connected', transport: 'tls', mode: 'hop' })
      one.tell({ state: 'lost', error: error('ACCESS_ENDED'), again: false })
      await one.passing(1_000)
    }
    expect(one.did.stays).toBeLessThan(10)
    vi.restoreAllMocks()
  })

  it('somebody has to sign in: it listens on, and does not ask by itself', async () => {
    const one = forward()
    one.answers.push('LOGIN_REQUIRED')
    await one.passing(600_000)
    expect([one.seen, one.did]).toEqual([
      ['connecting', 'sign-in LOGIN_REQUIRED'],
      { connects: 1, stays: 1, listens: 1, closed: 0 },
    ])
    one.tell({ state: 'connected', transport: 'tls', mode: 'hop' }) // who connected here signed in
    expect(one.seen.at(-1)).toBe('up')
  })

  it('a protocol that fails is begun anew, one that is done is not', async () => {
    const one = forward()
    await one.passing(0)
    one.protocol.fails('INTERNAL')
    await one.passing(0)
    expect([one.seen.at(-1), one.did.closed]).toEqual(['retrying INTERNAL', 1])
    await one.passing(30_000)
    expect([one.seen.at(-1), one.did.listens]).toEqual(['up', 2])
    one.protocol.ends()
    await one.over
    expect([one.seen.at(-1), one.did.closed]).toEqual(['ended', 2])
  })

  it('counts the connections there are', async () => {
    const one = forward()
    await one.passing(0)
    const stream = await one.local()?.open({ log, signal: one.stop.signal })
    expect(one.keeper.connections).toBe(1)
    stream?.destroy()
    await one.passing(0)
    expect(one.keeper.connections).toBe(0)
  })

  it('an abort ends it at once', async () => {
    const one = forward()
    await one.passing(0)
    one.stop.abort(new Error('enough'))
    await one.over
    expect([one.seen.at(-1), one.did.closed]).toEqual(['ended', 1])
  })
})
