import { type AuthProvider, definePlugin, type EdgeHost, type Json, PosternError } from '@postern/interface'
import { hashSecret, type KeyRing } from '@postern/tokens'

export const TEAM = 'https://team.example.com'
export const HOST = 'app.example.com:8443'
export const APP = `https://${HOST}`
export const KIND = { typ: 'at+jwt', issuer: TEAM, audience: APP, lifetimeSeconds: 600 }
export const SID = 'a'.repeat(24)
export const ANN = { issuer: 'https://idp.example.com', subject: 'ann' }
const COOKIE_ID = 'c'.repeat(24)
const SECRET = 'S'.repeat(43)
export const COOKIE = `${COOKIE_ID}.${SECRET}`
export const HOUR = 3600_000

export const session = (more: Record<string, Json> = {}): Json => ({
  kind: 'session',
  id: SID,
  person: { ...ANN, name: 'Ann', email: 'ann@example.com', groups: ['staff'], claims: { team: 'red' } },
  via: 'browser',
  authenticatedAt: 1_000_000,
  ...more,
})
export const cookie = (more: Record<string, Json> = {}): Json => ({
  kind: 'cookie',
  id: COOKIE_ID,
  session: SID,
  hostname: 'app.example.com',
  hash: hashSecret(SECRET),
  expiresAt: Date.now() + HOUR,
  ...more,
})
export const rowsWith = (more: Record<string, Json> = {}): Record<string, Json> => ({
  [`session.${SID}`]: session(),
  [`cookie.${COOKIE_ID}`]: cookie(),
  ...more,
})
export const COOKIE_ROW = `cookie.${COOKIE_ID}`
export const SESSION_ROW = `session.${SID}`

export const claims = (more: Record<string, Json> = {}): Record<string, Json> => ({
  sub: ANN.subject,
  idp: ANN.issuer,
  sid: SID,
  client_id: 'postern',
  auth_time: 1000,
  session_expires_at: Math.floor((Date.now() + HOUR) / 1000),
  ...more,
})

/** An edge's host with these rows and keys, which counts what is asked of it. */
export function hostOf(rows: Record<string, Json>, ring: { current: KeyRing }) {
  const asked: string[] = []
  let published: { readonly of: KeyRing; readonly jwks: Json } | undefined
  const lent = {
    records: {
      get: async (id: string) => {
        asked.push(id)
        return Object.hasOwn(rows, id) ? rows[id] : undefined
      },
    },
    keys: {
      jwks: async () => {
        if (published?.of !== ring.current)
          published = { of: ring.current, jwks: ring.current.jwks() as unknown as Json }
        return published.jwks
      },
      issuer: async () => TEAM,
    },
    fetch: async (input: URL) => {
      asked.push(input.href)
      throw new Error('nothing is fetched')
    },
  } as unknown as EdgeHost
  return { lent, asked }
}

/** Presents one header, as it was given. */
export const presenter = definePlugin({
  kind: 'auth',
  side: 'client',
  name: 'browser-sso',
  options: {
    name: { type: 'string', summary: 'the header', required: true },
    value: { type: 'secret', summary: 'its value', required: true },
  },
  create: ({ name, value }): AuthProvider => ({
    async authenticate({ refused }, call) {
      call.signal.throwIfAborted()
      if (refused) throw new PosternError('AUTH_REJECTED', 'the edge did not take it', { refusal: refused })
      return { headers: { [name]: value } }
    },
  }),
})
