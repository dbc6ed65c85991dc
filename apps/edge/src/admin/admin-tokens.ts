import type { AdminToken, Role, ShownAdminToken } from '@postern/admin'
import { PosternError } from '@postern/interface'
import type { Change, Snapshot } from '@postern/store'
import { createAdminToken } from '@postern/tokens'
import type { Handlers, Planned } from './handling.ts'
import { ADMIN_TOKENS, type AdminTokenRecord, adminTokensOf, livesOf, rowOf, SETUP_TOKENS } from './records.ts'

export const ADMIN_TOKEN_ROUTES: Handlers<
  'setup.use' | 'admin-token.list' | 'admin-token.create' | 'admin-token.revoke'
> = {
  'setup.use': async (handling, { body }) => {
    const { caller } = handling
    // That the token is still there is checked when its turn comes, as for every change: of two, one finds it gone.
    const made = await handling.change((snapshot, now) => {
      const planned = planToken(body, 'admin', snapshot, now)
      const used: Change[] =
        caller.kind === 'setup-token' ? [{ delete: 'record', namespace: SETUP_TOKENS, id: caller.id }] : []
      return { ...planned, action: 'setup.use', changes: [...planned.changes, ...used] }
    })
    await handling.forgetSetupFile()
    return made
  },
  'admin-token.list': ({ store: { snapshot } }) =>
    [...adminTokensOf(snapshot)].map(([id, record]) => shown(id, record)),
  'admin-token.create': (handling, { body }) =>
    handling.change((snapshot, now) => planToken(body, body.role, snapshot, now)),
  'admin-token.revoke': (handling, { params: { id } }) =>
    handling.change((snapshot, now) => {
      const found = adminTokensOf(snapshot).get(id)
      if (found === undefined) throw new PosternError('NOT_FOUND', 'no such admin token', { speaker: 'edge' })
      return {
        // The key cuts nothing: it is remembered, should an older copy of the database take this one's place.
        changes:
          found.revokedAt === undefined
            ? [put(id, { ...found, revokedAt: now }), { revoke: `${ADMIN_TOKENS}:${id}` }]
            : [],
        action: 'admin-token.revoke',
        detail: { id, name: found.name },
        answer: () => undefined,
      }
    }),
}

interface Wanted {
  readonly name: string
  readonly expiresInSeconds?: number | undefined
}

/** @throws PosternError ALREADY_EXISTS: a token that is not revoked has the name */
function planToken(
  { name, expiresInSeconds }: Wanted,
  role: Role,
  snapshot: Snapshot,
  now: number,
): Planned<ShownAdminToken> {
  const taken = [...adminTokensOf(snapshot).values()].some(one => one.name === name && one.revokedAt === undefined)
  if (taken) {
    throw new PosternError('ALREADY_EXISTS', `an admin token is called ${JSON.stringify(name)} already`, {
      speaker: 'edge',
      next: 'Use another name, or revoke that token first.',
    })
  }
  const { id, token, hash } = createAdminToken()
  const lives = expiresInSeconds === undefined ? {} : { expiresAt: now + expiresInSeconds * 1000 }
  const record = { name, role, hash, createdAt: now, ...lives }
  return {
    changes: [put(id, record)],
    action: 'admin-token.create',
    detail: { id, name, role },
    answer: () => ({ ...shown(id, record), token }),
  }
}

function put(id: string, record: AdminTokenRecord): Change {
  return { put: 'record', namespace: ADMIN_TOKENS, id, value: rowOf(record) }
}

function shown(id: string, record: AdminTokenRecord): AdminToken {
  return { id, name: record.name, role: record.role, ...livesOf(record) }
}
