// The reference credential: one header with an id and a secret, kept at the edge as a hash.
import { createHash, timingSafeEqual } from 'node:crypto'
import {
  type AuthProvider,
  type AuthVerifier,
  definePlugin,
  type EdgeHost,
  type Identity,
  type Plugin,
  PosternError,
} from '@postern/interface'
import type { AuthKit } from '../../src/index.ts'

export const HEADER = 'x-reference-key'
const OPTIONS = { key: { type: 'secret', summary: 'id, a dot, and the secret', required: true } } as const

export function authClient(
  authenticate: (key: string) => AuthProvider['authenticate'],
): Plugin<'auth', 'client', typeof OPTIONS> {
  return definePlugin({
    kind: 'auth',
    side: 'client',
    name: 'reference',
    options: OPTIONS,
    create: ({ key }) => ({ authenticate: authenticate(key) }),
  })
}

export function authEdge(
  verify: (host: EdgeHost) => AuthVerifier['verify'],
): Plugin<'auth', 'edge', Record<never, never>> {
  return definePlugin({
    kind: 'auth',
    side: 'edge',
    name: 'reference',
    options: {},
    create: (_options, host) => ({ verify: verify(host) }),
  })
}

export const authenticate =
  (key: string): AuthProvider['authenticate'] =>
  async ({ refused }, call) => {
    call.signal.throwIfAborted()
    if (refused) {
      // Not the whole of `refused`: it carries the credential.
      const { status, headers } = refused
      throw new PosternError('AUTH_REJECTED', 'the edge did not accept the key', { refusal: { status, headers } })
    }
    return { headers: { [HEADER]: key } }
  }

export const verify =
  (host: EdgeHost): AuthVerifier['verify'] =>
  async (presented, call) => {
    call.signal.throwIfAborted()
    const values = Object.hasOwn(presented.headers, HEADER) ? (presented.headers[HEADER] ?? []) : []
    if (values.length === 0) return undefined
    if (values.length > 1) throw new PosternError('BAD_USAGE', 'the key was sent twice')
    const [id = '', secret = '', ...rest] = (values[0] ?? '').split('.')
    const record = (await host.records.get(id)) as
      | { hash?: unknown; expiresAt?: number; revokedAt?: number }
      | undefined
    call.signal.throwIfAborted()
    if (rest.length > 0 || !matches(secret, record?.hash)) {
      await host.attempts.failed(id.slice(0, 64))
      throw new PosternError('AUTH_REJECTED', 'the key was not accepted')
    }
    if (record?.revokedAt) throw new PosternError('TOKEN_REVOKED', 'the key was revoked')
    if (record?.expiresAt && record.expiresAt < Date.now()) throw new PosternError('TOKEN_EXPIRED', 'the key expired')
    return { identity: identity(id) }
  }

export function identity(id: string): Identity {
  return { kind: 'service', issuer: 'test:reference', subject: id, claims: {}, revokeKeys: [`reference:${id}`] }
}

export function hash(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}

function matches(secret: string, wanted: unknown): boolean {
  if (typeof wanted !== 'string' || wanted.length !== 64) return false
  return timingSafeEqual(Buffer.from(hash(secret)), Buffer.from(wanted))
}

/** What the kit is given besides the two sides. */
export const SEEDED = {
  clientOptions: { key: 'good.0f4c9a7d1e66b8253a' },
  wrong: { key: 'good.9999999999999999' },
  expired: { key: 'old.0f4c9a7d1e66b8253a' },
  revoked: { key: 'bad.0f4c9a7d1e66b8253a' },
  seed: async ({ records }) => {
    const secret = hash('0f4c9a7d1e66b8253a')
    await records.put('good', { hash: secret })
    await records.put('old', { hash: secret, expiresAt: 1 })
    await records.put('bad', { hash: secret, revokedAt: 1 })
  },
} satisfies Partial<AuthKit<typeof OPTIONS, Record<never, never>>>

export const client = authClient(authenticate)
export const edge = authEdge(verify)
