import { type AuthProvider, type AuthRequest, type Call, PosternError, problem } from '@postern/interface'
import { everythingSaid, type MemoryEdge, memoryEdge, recordingLog } from '@postern/testkit'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { dialEdge } from '../src/dial.ts'

const SECRET = 'secret-of-round'
const log = recordingLog()
const call: Call = { signal: AbortSignal.timeout(60_000), log }

let edge: MemoryEdge
beforeEach(async () => {
  edge = await memoryEdge(log)
})
afterEach(() => edge[Symbol.asyncDispose]())

function dial(auth: readonly AuthProvider[], by: Call = call, url = 'https://edge.example.com') {
  const wanted = { purpose: 'connector', teamDomain: 'edge.example.com' } as const
  const want = { edge: new URL(url), host: 'edge.example.com', purpose: 'connector', wanted, auth } as const
  return dialEdge({ ...want, transport: edge.transport, trust: { ca: [] } }, by)
}

/** As Negotiate does: each round presents what the challenge before asked for. */
function negotiating(asked: AuthRequest[] = []): AuthProvider {
  return {
    authenticate: async request => {
      asked.push(request)
      return { headers: { authorization: `${SECRET}-${asked.length}` } }
    },
  }
}

function challenging(until: string): void {
  edge.admit = ({ presented }) =>
    presented.headers.authorization?.[0] === until
      ? {}
      : {
          problem: problem('LOGIN_REQUIRED', `r-${edge.arrivals.length}`),
          headers: { 'www-authenticate': `Negotiate after ${presented.headers.authorization}` },
        }
}

describe('a challenge', () => {
  it('is shown to the provider, and its answer is presented', async () => {
    challenging(`${SECRET}-2`)
    const asked: AuthRequest[] = []
    const { pipe } = await dial([negotiating(asked)])
    pipe.destroy()
    expect(asked.map(one => one.purpose)).toEqual(['connector', 'connector'])
    expect(asked[0]?.refused).toBeUndefined()
    expect(asked[1]?.refused).toMatchObject({
      status: 401,
      headers: { 'www-authenticate': [`Negotiate after ${SECRET}-1`] },
      credential: { headers: { authorization: `${SECRET}-1` } },
    })
  })

  it('that never ends is given up after three rounds, with the last refusal', async () => {
    challenging('never')
    const asked: AuthRequest[] = []
    await expect(dial([negotiating(asked)])).rejects.toMatchObject({ code: 'LOGIN_REQUIRED', requestId: 'r-3' })
    expect([asked.length, edge.arrivals.length]).toEqual([3, 3])
  })

  it('nobody can answer: the edge’s refusal stands, not the provider’s', async () => {
    challenging('never')
    const provider: AuthProvider = {
      authenticate: async ({ refused }) => {
        if (refused) throw new PosternError('AUTH_REJECTED', 'I have no other token')
        return { headers: { authorization: SECRET } }
      },
    }
    const error = await dial([provider]).catch(thrown => thrown)
    expect(error).toMatchObject({ code: 'LOGIN_REQUIRED', requestId: 'r-1', refusal: { status: 401 } })
    // The challenge itself repeats what was presented: that is this test's doing. The error brings no credential of its own.
    expect(error.refusal).not.toHaveProperty('credential')
  })

  it('a provider that fails otherwise is heard', async () => {
    challenging('never')
    const provider: AuthProvider = {
      authenticate: async ({ refused }) => {
        if (refused) throw new PosternError('LOGIN_REQUIRED', 'the ticket has run out: run kinit')
        return {}
      },
    }
    await expect(dial([provider])).rejects.toThrow('kinit')
  })

  it.each([
    ['a 401 without a challenge', { problem: problem('AUTH_REJECTED', 'r') }],
    ['another status', { problem: problem('ACCESS_DENIED', 'r'), headers: { 'www-authenticate': 'Negotiate' } }],
  ])('is none: %s ends it at once', async (_what, refusal) => {
    edge.admit = () => refusal
    const error = await dial([negotiating()]).catch(thrown => thrown)
    expect(error).toMatchObject({ code: refusal.problem.code, requestId: 'r' })
    expect(everythingSaid(error)).not.toContain(SECRET)
    expect(edge.arrivals).toHaveLength(1)
  })
})

describe('a dial', () => {
  it('ends with the call, with its reason, though a provider never answers', async () => {
    const stop = new AbortController()
    const dialling = dial([{ authenticate: () => new Promise(() => {}) }], { signal: stop.signal, log })
    stop.abort(new Error('enough'))
    await expect(dialling).rejects.toThrow('enough')
    expect(edge.arrivals).toHaveLength(0)
  })

  it.each(['http://edge.example.com', 'ws://edge.example.com', 'wss://edge.example.com', 'ftp://127.0.0.1'])(
    'by %s is refused before a credential is asked for',
    async url => {
      const asked: AuthRequest[] = []
      await expect(dial([negotiating(asked)], call, url)).rejects.toMatchObject({ code: 'OPTION_INVALID' })
      expect([asked.length, edge.arrivals.length]).toEqual([0, 0])
    },
  )

  it.each(['https://edge.example.com', 'http://127.0.0.1:8080', 'http://[::1]:8080', 'http://edge.localhost:80'])(
    'by %s is not',
    async url => {
      const { pipe } = await dial([negotiating()], call, url)
      pipe.destroy()
      expect(edge.arrivals).toHaveLength(1)
    },
  )
})
