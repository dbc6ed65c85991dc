import {
  type Application,
  type Call,
  type ClientHost,
  type EdgeHost,
  type Json,
  type OriginHost,
  PosternError,
} from '@postern/interface'

/** A hostname that resolves nowhere: what a plugin dials is the edge's address, never this. */
export const HOSTNAME = 'app.postern.test'
export const TEAM_DOMAIN = 'team.postern.test'

export const APPLICATION: Application = {
  hostname: HOSTNAME,
  id: 'app-1',
  teamDomain: TEAM_DOMAIN,
  protocols: ['tcp', 'ssh'],
}

export interface FakeClientHost extends ClientHost {
  /** What the user was shown, asked and sent to. */
  readonly seen: readonly string[]
  readonly stored: ReadonlyMap<string, string>
}

/** A client side's host with nobody at the terminal, unless `answer` speaks for them. */
export function fakeClientHost(answer?: (question: string) => string): FakeClientHost {
  const stored = new Map<string, string>()
  const seen: string[] = []
  const turns = new Map<string, Promise<unknown>>()
  return {
    seen,
    stored,
    secrets: {
      get: async key => stored.get(key),
      set: async (key, value) => {
        stored.set(key, value)
      },
      delete: async key => void stored.delete(key),
      exclusively: async (key, work, call) => {
        const mine = (turns.get(key) ?? Promise.resolve()).then(() => {
          call.signal.throwIfAborted()
          return work()
        })
        turns.set(
          key,
          mine.catch(() => {}),
        )
        return mine
      },
    },
    ui: {
      show: line => void seen.push(line),
      open: async url => {
        seen.push(url.href)
        return false
      },
      ask: async (question, _how, call) => {
        call.signal.throwIfAborted()
        seen.push(question)
        if (answer) return answer(question)
        throw new PosternError('LOGIN_REQUIRED', 'nobody is at the terminal')
      },
    },
    fetch: (input, init) => fetch(input, init),
  }
}

export interface FakeEdgeHost extends EdgeHost {
  readonly rows: Map<string, Json>
  /** Keys that failed, in order. */
  readonly failures: readonly string[]
  /** How often records were asked for. */
  readonly reads: number
  /** Asked for each row in place of what is there, to make it fail, hang or lie. */
  onGet: ((id: string) => Promise<Json | undefined>) | undefined
}

/** An edge side's host: rows in memory, attempts without end, no keys. */
export function fakeEdgeHost(): FakeEdgeHost {
  const rows = new Map<string, Json>()
  const failures: string[] = []
  const host: FakeEdgeHost & { reads: number } = {
    rows,
    failures,
    reads: 0,
    onGet: undefined,
    records: {
      get: async id => {
        host.reads++
        return host.onGet ? host.onGet(id) : structuredClone(rows.get(id))
      },
      list: async prefix => {
        host.reads++
        const found = new Map<string, Json>()
        for (const id of rows.keys()) {
          const value = id.startsWith(prefix) ? await (host.onGet?.(id) ?? structuredClone(rows.get(id))) : undefined
          if (value !== undefined) found.set(id, value)
        }
        return found
      },
      put: async (id, value) => void rows.set(id, structuredClone(value)),
      delete: async id => void rows.delete(id),
    },
    keys: { jwks: async () => ({ keys: [] }), issuer: async () => `https://${TEAM_DOMAIN}` },
    attempts: { allow: async () => true, failed: async key => void failures.push(key) },
    fetch: (input, init) => fetch(input, init),
  }
  return host
}

/** An origin side's host: everything resolves to this machine, and the team domain publishes no keys. */
export function fakeOriginHost(): OriginHost {
  return {
    resolve: async (_host: string, call: Call) => {
      call.signal.throwIfAborted()
      return ['127.0.0.1']
    },
    team: TEAM_DOMAIN,
    fetch: async () => Response.json({ keys: [] }),
  }
}
