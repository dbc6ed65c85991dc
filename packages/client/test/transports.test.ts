import { Duplex } from 'node:stream'
import { type Call, type Dialled, type DialRequest, PosternError, problem, type Transport } from '@postern/interface'
import { leftOpen, type MemoryEdge, memoryEdge, recordingLog, resources } from '@postern/testkit'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createApplicationClient, type NamedTransport, type SessionNews, Transports } from '../src/index.ts'
import { mendable } from '../src/transports.ts'

const log = recordingLog()
const call: Call = { signal: AbortSignal.timeout(60_000), log }

let before = resources()
let edge: MemoryEdge
beforeEach(async () => {
  before = resources()
  edge = await memoryEdge(log)
})
afterEach(async () => {
  await edge[Symbol.asyncDispose]()
  expect(await leftOpen(before)).toEqual([])
})

/** Something between takes what is said, and ends it. */
class Dying extends Duplex {
  override _read(): void {}

  override _write(_chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    done()
    setImmediate(() => this.destroy(new Error('reset')))
  }
}

/** One that something between keeps from the edge. */
function failing(name: string, why: () => unknown): NamedTransport & { dials: number } {
  const one = { name, dials: 0, transport: {} as Transport }
  return Object.assign(one, {
    transport: {
      dial: async () => {
        one.dials += 1
        throw why()
      },
    },
  })
}

function working(name = 'good'): NamedTransport & { dials: number } {
  const one = { name, dials: 0, transport: {} as Transport }
  const dial = (request: DialRequest, by: Call): Promise<Dialled> => {
    one.dials += 1
    return edge.transport.dial(request, by)
  }
  return Object.assign(one, { transport: { dial } })
}

const none = { authenticate: async () => ({}) }
const clientBy = (transports: readonly NamedTransport[], onSession?: (news: SessionNews) => void) =>
  createApplicationClient({ hostname: 'db.example.com', auth: [none], transports, ...(onSession && { onSession }) })

describe('several transports', () => {
  it('a pipe that dies before anybody said hello is mended by the next, for the stream that was on its way, too', async () => {
    const dying = { name: 'dying', transport: { dial: async () => ({ pipe: new Dying(), answer: {} }) } }
    const news: SessionNews[] = []
    await using client = clientBy([dying, working()], one => news.push(one))
    const stream = await client.open(call)
    stream.end('hello')
    expect(String(await stream.toArray())).toBe('hello')
    expect(news).toEqual([{ state: 'connected', transport: 'good', mode: 'hop' }])
  })

  it('a pipe at which nobody said anything yet is enough to begin, and not to be connected', async () => {
    const { promise: free, resolve: go } = Promise.withResolvers<void>()
    const quietAtFirst = working()
    const dial = async (request: DialRequest, by: Call): Promise<Dialled> => {
      const dialled = await quietAtFirst.transport.dial(request, by)
      const { pipe } = dialled
      const behind = new Duplex({
        allowHalfOpen: true,
        read: () =>
          void free.then(() => pipe.on('data', chunk => behind.push(chunk)).on('end', () => behind.push(null))),
        write: (chunk, _encoding, done) => void pipe.write(chunk, done),
        final: done => void pipe.end(done),
        destroy: (error, done) => {
          pipe.destroy()
          done(error)
        },
      })
      return { ...dialled, pipe: behind }
    }
    await using client = clientBy([{ name: 'slow', transport: { dial } }])
    await client.begin(call)
    let isConnected = false
    const connecting = client.connect(call).then(() => {
      isConnected = true
    })
    const opening = client.open(call)
    await expect.poll(() => edge.tunnels[0]?.streams).toBe(1)
    expect(isConnected).toBe(false)
    go()
    await connecting
    ;(await opening).destroy()
  })

  it('none is a mistake of the program’s', () => {
    expect(() => clientBy([])).toThrow('no transport')
  })

  it('the first that works is used, and nothing is asked of the others', async () => {
    const [one, other] = [working('one'), working('other')]
    const news: SessionNews[] = []
    await using client = clientBy([one, other], told => news.push(told))
    await client.connect(call)
    expect([one.dials, other.dials]).toEqual([1, 0])
    expect(news).toEqual([{ state: 'connected', transport: 'one', mode: 'hop' }])
  })

  it.each(['EDGE_PROTOCOL', 'TIMED_OUT', 'STREAM_CUT', 'SESSION_LOST'] as const)(
    '%s is mended by the next, which is said once, and tried first from then on',
    async code => {
      const bad = failing('bad', () => new PosternError(code, 'something is between'))
      const good = working()
      const own = recordingLog()
      await using client = clientBy([bad, good])
      await client.connect({ ...call, log: own })
      edge.kill()
      await expect.poll(() => edge.tunnels.length).toBe(0)
      const again = await client.open({ ...call, log: own })
      again.destroy()
      expect([bad.dials, good.dials]).toEqual([1, 2])
      const said = own.lines.filter(line => line.level === 'info')
      expect(said.map(line => line.message)).toEqual([
        'no way to the edge by bad; trying good',
        'the edge is reached by good',
      ])
    },
  )

  it('what answers as an edge does not, be it with a status, is mended by the next', async () => {
    const refusal = { status: 404, headers: {} }
    const bad = failing('bad', () => new PosternError('EDGE_PROTOCOL', 'the server answered 404', { refusal }))
    await using client = clientBy([bad, working()])
    await client.connect(call)
    expect(bad.dials).toBe(1)
  })

  it.each(['ACCESS_DENIED', 'TUNNEL_OFFLINE', 'TIMED_OUT', 'AUTH_REJECTED'] as const)(
    'a refusal of the edge’s is final: %s',
    async code => {
      const [one, other] = [working('one'), working('other')]
      edge.admit = () => ({ problem: problem(code, 'r-7') })
      await using client = clientBy([one, other])
      await expect(client.connect(call)).rejects.toMatchObject({ code, requestId: 'r-7' })
      expect([one.dials, other.dials]).toEqual([1, 0])
    },
  )

  it.each(['EDGE_UNREACHABLE', 'EDGE_UNTRUSTED', 'TUNNEL_KEY_CHANGED', 'DAEMON_UNTRUSTED', 'MODE_FORBIDDEN'] as const)(
    '%s is nothing that another way mends',
    async code => {
      const other = working('other')
      await using client = clientBy([failing('one', () => new PosternError(code, 'no')), other])
      await expect(client.connect(call)).rejects.toMatchObject({ code })
      expect(other.dials).toBe(0)
    },
  )

  it('where none gets through, the error tells of each', async () => {
    const bad = failing('bad', () => new PosternError('EDGE_PROTOCOL', 'it speaks otherwise'))
    const worse = failing('worse', () => new PosternError('TIMED_OUT', 'it says nothing'))
    await using client = clientBy([bad, worse])
    const error = await client.connect(call).catch(thrown => thrown)
    expect(error).toMatchObject({ code: 'TIMED_OUT' })
    expect(error.message).toBe('by worse it says nothing; by bad it speaks otherwise')
    await using alone = clientBy([worse])
    await expect(alone.connect(call)).rejects.toThrow(/^it says nothing$/)
  })

  it('an abort ends the trying, with its reason', async () => {
    const stop = new AbortController()
    const transports = new Transports([working('one'), working('other')])
    let tried = 0
    const attempt = async () => {
      tried += 1
      stop.abort(new Error('enough'))
      throw new PosternError('TIMED_OUT', 'too late')
    }
    await expect(transports.use(attempt, { signal: stop.signal, log })).rejects.toThrow('enough')
    expect(tried).toBe(1)
  })

  it('an error may be marked, whatever its code', async () => {
    const transports = new Transports([working('one'), working('other')])
    const tried: string[] = []
    const attempt = async ({ name }: NamedTransport) => {
      tried.push(name)
      if (name === 'one') throw mendable(new PosternError('DAEMON_UNTRUSTED', 'raced'))
      return name
    }
    expect(await transports.use(attempt, call)).toBe('other')
    expect(tried).toEqual(['one', 'other'])
    expect(transports.order.map(({ name }) => name)).toEqual(['other', 'one'])
  })
})

describe('a client that stays', () => {
  async function staying() {
    const told: string[] = []
    const asked: boolean[] = []
    const stop = new AbortController()
    const client = createApplicationClient({
      hostname: 'db.example.com',
      auth: [none],
      transports: [working()],
      onSession: news => told.push(news.state === 'connected' ? news.state : `${news.state} ${news.error.code}`),
      mayAsk: may => asked.push(may),
    })
    await client.connect(call)
    const staying = client.stay({ signal: stop.signal, log })
    staying.catch(() => {})
    return {
      client,
      told,
      asked,
      async [Symbol.asyncDispose]() {
        stop.abort(new Error('enough'))
        await expect(staying).rejects.toThrow('enough')
        await client[Symbol.asyncDispose]()
      },
    }
  }

  it('makes a session anew that was lost, though nobody opens anything, and asks nobody', async () => {
    await using one = await staying()
    edge.kill()
    await expect.poll(() => one.told, { timeout: 10_000 }).toEqual(['connected', 'lost SESSION_LOST', 'connected'])
    expect(one.asked).toEqual([true, false])
  })

  it('and one that the edge drained', async () => {
    await using one = await staying()
    const [first] = edge.tunnels
    await first?.drain(call)
    await expect.poll(() => one.told, { timeout: 10_000 }).toEqual(['connected', 'connected'])
  })

  it('tries on while the edge is away, ever more slowly', async () => {
    await using one = await staying()
    edge.admit = () => {
      throw new PosternError('EDGE_UNREACHABLE', 'nothing listens there')
    }
    edge.kill()
    await expect
      .poll(() => one.told.filter(line => line === 'failed EDGE_UNREACHABLE').length, { timeout: 20_000 })
      .toBe(3)
    edge.admit = () => ({})
    await expect.poll(() => one.told.at(-1), { timeout: 20_000 }).toBe('connected')
  }, 60_000)

  it.each(['ACCESS_DENIED', 'LOGIN_REQUIRED', 'TOKEN_REVOKED'] as const)(
    'does not knock where it was refused (%s): the next open does, and may ask',
    async code => {
      await using one = await staying()
      edge.admit = () => ({ problem: problem(code, 'r') })
      edge.kill()
      await expect.poll(() => one.told.at(-1), { timeout: 10_000 }).toBe(`failed ${code}`)
      const { length } = edge.arrivals
      await new Promise(resolve => setTimeout(resolve, 1_500))
      expect(edge.arrivals).toHaveLength(length)
      edge.admit = () => ({})
      const stream = await one.client.open(call)
      stream.destroy()
      expect(one.asked.at(-1)).toBe(true)
      edge.kill()
      await expect.poll(() => one.told.at(-1), { timeout: 10_000 }).toBe('connected')
    },
  )

  it('whoever opens does not wait for the next try', async () => {
    await using one = await staying()
    edge.kill()
    await expect.poll(() => one.told.length).toBeGreaterThanOrEqual(2)
    const stream = await one.client.open(call)
    stream.destroy()
    expect(edge.arrivals).toHaveLength(2)
  })
})
