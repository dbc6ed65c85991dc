import { ROUTES, type ServiceToken, type ShownServiceToken } from '@postern/admin'
import { PosternError } from '@postern/interface'
import type { Change, Snapshot } from '@postern/store'
import { createServiceToken, hashId } from '@postern/tokens'
import { SERVICE_TOKEN_ISSUER } from '../certificates/names.ts'
import { revocationOfHeld } from '../certificates/revoke.ts'
import type { Handlers, Planned } from './handling.ts'
import {
  instantOf,
  isGood,
  livesOf,
  rowOf,
  SERVICE_TOKENS,
  type ServiceTokenRecord,
  serviceTokensOf,
} from './records.ts'

export const SERVICE_TOKEN_ROUTES: Handlers<
  'service-token.list' | 'service-token.get' | 'service-token.rotate' | 'service-token.revoke'
> = {
  'service-token.list': ({ store, now }) =>
    [...serviceTokensOf(store.snapshot)].map(([id, record]) => shownServiceToken(id, record, now)),
  'service-token.get': ({ store, now }, { params: { token } }) => {
    const [id, record] = mustBeToken(store.snapshot, token)
    return shownServiceToken(id, record, now)
  },
  'service-token.rotate': (handling, { params: { token }, body: { overlapSeconds } }) =>
    handling.change((snapshot, now) => rotation(mustBeToken(snapshot, token), overlapSeconds * 1000, now)),
  'service-token.revoke': (handling, { params: { token } }) =>
    handling.change((snapshot, now) => {
      const [id, record] = mustBeToken(snapshot, token)
      return {
        changes: record.revokedAt === undefined ? revocationOf(id, record, snapshot, now) : [],
        action: 'service-token.revoke',
        detail: { id, name: record.name },
        answer: () => undefined,
      }
    }),
}

export function newServiceToken(
  name: string,
  lives: { readonly expiresAt?: number },
  now: number,
): { readonly id: string; readonly secret: string; readonly record: ServiceTokenRecord } {
  const { id, secret, hash } = createServiceToken()
  return { id, secret, record: { name, hash, createdAt: now, ...lives } }
}

export function tokenChange(id: string, record: ServiceTokenRecord): Change {
  return { put: 'record', namespace: SERVICE_TOKENS, id, value: rowOf(record) }
}

/** Its open connections end, and the certificates that it was given. */
export function revocationOf(
  id: string,
  record: ServiceTokenRecord,
  snapshot: Snapshot,
  now: number,
): readonly Change[] {
  const certificates = revocationOfHeld(snapshot, { issuer: SERVICE_TOKEN_ISSUER, subject: id }, now)
  return [tokenChange(id, { ...record, revokedAt: now }), { revoke: `service-token:${id}` }, ...certificates]
}

const NAME = ROUTES['service-token.create'].body.shape.name

/** Ids by name, of the tokens that are not revoked and that a name means alone. */
export function nameable(tokens: ReadonlyMap<string, ServiceTokenRecord>): ReadonlyMap<string, string> {
  const kept = [...tokens].filter(([, { name, revokedAt }]) => revokedAt === undefined && NAME.safeParse(name).success)
  const byName = Map.groupBy(kept, ([, { name }]) => name)
  return new Map([...byName].flatMap(([name, [first, ...more]]) => (first && !more.length ? [[name, first[0]]] : [])))
}

/** The id of the token that an id, or a name, means; undefined for none. */
export type FindToken = (idOrName: string) => string | undefined

/** Made once for many questions. */
export function tokenFinder(tokens: ReadonlyMap<string, ServiceTokenRecord>): FindToken {
  const names = nameable(tokens)
  return idOrName => (tokens.has(idOrName) ? idOrName : names.get(idOrName))
}

/** A new secret; the one before it is good for a while, the one before that no more. */
function rotation(
  [id, record]: readonly [string, ServiceTokenRecord],
  overlap: number,
  now: number,
): Planned<ShownServiceToken> {
  if (!isGood(record, now)) {
    throw new PosternError('CONFLICT', `the service token ${id} is revoked or has expired`, {
      speaker: 'edge',
      next: 'Make a new one, and name it in the rules.',
    })
  }
  const { previous, ...kept } = record
  const { secret, hash } = createServiceToken()
  const until = Math.min(now + overlap, record.expiresAt ?? Number.POSITIVE_INFINITY)
  const value = { ...kept, hash, ...(overlap > 0 && { previous: { hash: record.hash, expiresAt: until } }) }
  const key = (of: string) => `service-token:${id}:${hashId(of)}`
  const changes: Change[] = [
    tokenChange(id, value),
    { revoke: key(record.hash), ...(overlap > 0 && { at: until }) },
    ...(previous === undefined ? [] : [{ revoke: key(previous.hash) }]),
  ]
  return {
    changes,
    action: 'service-token.rotate',
    detail: { id, name: record.name, overlapSeconds: overlap / 1000 },
    answer: () => ({ ...shownServiceToken(id, value, now), secret }),
  }
}

/** By id, or by the name of one that is not revoked. @throws PosternError NOT_FOUND */
function mustBeToken(snapshot: Snapshot, idOrName: string): readonly [string, ServiceTokenRecord] {
  const tokens = serviceTokensOf(snapshot)
  const id = tokenFinder(tokens)(idOrName)
  const record = tokens.get(id ?? '')
  if (id === undefined || record === undefined)
    throw new PosternError('NOT_FOUND', 'no such service token', { speaker: 'edge' })
  return [id, record]
}

export function shownServiceToken(id: string, record: ServiceTokenRecord, now: number): ServiceToken {
  const { name, previous } = record
  return {
    id,
    name,
    ...livesOf(record),
    ...(previous !== undefined && previous.expiresAt > now && { previousUntil: instantOf(previous.expiresAt) }),
  }
}
