import type { Checked, Provider } from '@postern/admin'
import { type Json, PosternError } from '@postern/interface'
import type { Change, Snapshot } from '@postern/store'
import { revocationOfHeld } from '../certificates/revoke.ts'
import { endingOf } from '../sign-in/endings.ts'
import {
  logoutUriOf,
  PROVIDERS as NAMESPACE,
  type ProviderRecord,
  providersOf,
  redirectUriOf,
} from '../sign-in/provider-record.ts'
import type { Handlers, Handling } from './handling.ts'

export const PROVIDERS: Handlers<'provider.list' | 'provider.put' | 'provider.delete'> = {
  'provider.list': handling => providersOf(handling.store.snapshot).map(one => shown(one, handling)),
  'provider.put': (handling, { params: { id }, body }) =>
    handling.change((snapshot, now) => {
      const before = providersOf(snapshot).find(one => one.id === id)
      const value = recordOf(id, body, before, handling)
      checkIssuer(value, snapshot, handling.origins.team)
      const isOther = before !== undefined && TAKEN.some(name => before[name] !== value[name])
      const put: Change = { put: 'record', namespace: NAMESPACE, id, value: { ...value } as Json }
      return {
        changes: [put, ...(isOther ? endOf(before, snapshot, now) : [])],
        action: 'provider.put',
        detail: { provider: id, issuer: value.issuer, clientId: value.clientId },
        answer: () => shown(value, handling),
      }
    }),
  'provider.delete': (handling, { params: { id } }) =>
    handling.change((snapshot, now) => {
      const found = providersOf(snapshot).find(one => one.id === id)
      if (found === undefined) throw new PosternError('NOT_FOUND', `no provider ${id}`, { speaker: 'edge' })
      return {
        changes: [{ delete: 'record', namespace: NAMESPACE, id }, ...endOf(found, snapshot, now)],
        action: 'provider.delete',
        detail: { provider: id, issuer: found.issuer },
        answer: () => undefined,
      }
    }),
}

/** What decides who people are by a provider’s word: who came by another meaning of it signs in again. */
const TAKEN = ['issuer', 'clientId', 'groupsClaim', 'trustEmail'] as const

/** What ends the sessions, and the certificates, of whom a provider vouched for: nobody may do so any more. */
function endOf({ issuer }: ProviderRecord, snapshot: Snapshot, now: number): readonly Change[] {
  const { changes } = endingOf(snapshot, ({ person }) => person.issuer === issuer)
  return [...changes, ...revocationOfHeld(snapshot, { issuer }, now)]
}

function recordOf(
  id: string,
  { clientSecret, ...wanted }: Checked<'provider.put'>['body'],
  before: ProviderRecord | undefined,
  { seal }: Handling,
): ProviderRecord {
  const { name, issuer, clientId, scopes, groupsClaim, trustEmail } = wanted
  // A secret is one client’s at one provider: it is never sent to another.
  const kept = before?.issuer === issuer && before.clientId === clientId ? before.clientSecret : undefined
  const sealed = clientSecret === undefined ? kept : seal.seal(clientSecret)
  return {
    id,
    name,
    issuer,
    clientId,
    ...(sealed !== undefined && { clientSecret: sealed }),
    ...(scopes !== undefined && { scopes: [...new Set(scopes)] }),
    ...(groupsClaim !== undefined && { groupsClaim }),
    ...(trustEmail && { trustEmail }),
  }
}

/**
 * What a provider says of a person is kept under its issuer: it must be one, no other’s, and never the edge’s own.
 *
 * @throws PosternError BAD_USAGE, ALREADY_EXISTS
 */
function checkIssuer({ id, issuer }: ProviderRecord, snapshot: Snapshot, own: string): void {
  const url = URL.parse(issuer)
  const isPlain = url !== null && (url.href === issuer || url.href === `${issuer}/`)
  if (!isPlain || url.protocol !== 'https:') throw badUsage('is not an https: URL as it is usually spelled')
  if (url.username !== '' || url.password !== '') throw badUsage('has a name or a password in it')
  if (/[?#]/.test(issuer)) throw badUsage('has a query or a fragment')
  if (url.origin === own) throw badUsage('is this edge')
  const other = providersOf(snapshot).find(one => one.issuer === issuer && one.id !== id)
  if (other === undefined) return
  throw new PosternError('ALREADY_EXISTS', `${issuer} is the provider ${other.id} already`, {
    speaker: 'edge',
    next: 'Change that one, or remove it first.',
  })
}

function badUsage(what: string): PosternError {
  return new PosternError('BAD_USAGE', `issuer ${what}`, {
    speaker: 'edge',
    next: 'Give it as the provider’s discovery document has it, for example https://idp.example.com.',
  })
}

function shown({ clientSecret, ...record }: ProviderRecord, { origins }: Pick<Handling, 'origins'>): Provider {
  const { id, name, issuer, clientId, scopes, groupsClaim, trustEmail = false } = record
  return {
    id,
    name,
    issuer,
    clientId,
    hasSecret: clientSecret !== undefined,
    ...(scopes !== undefined && { scopes: [...scopes] }),
    ...(groupsClaim !== undefined && { groupsClaim }),
    trustEmail,
    redirectUri: redirectUriOf(origins.team, id),
    logoutUri: logoutUriOf(origins.team, id),
  }
}
