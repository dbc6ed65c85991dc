import type { ApplicationOptions } from '@postern/admin'
import { PosternError } from '@postern/interface'
import type { HostOptionSpecs, Values } from '@postern/options'
import { seconds } from './options.ts'

/** How an application is served, as flags. */
export const APPLICATION_OPTIONS = {
  name: { type: 'string', summary: 'what people read instead of the hostname' },
  contact: { type: 'string', summary: 'whom to ask for access, for the page that says no' },
  session: { type: 'duration', summary: 'how long a sign-in lasts here, 1m to ten years, for example 400d' },
  idle: { type: 'duration', summary: 'how long without use until people sign in again, for example 12h' },
  authorizationHeader: {
    type: 'boolean',
    summary: 'judge “Authorization: Bearer” here; it does not reach the origin then',
  },
  preflight: { type: 'boolean', summary: 'let CORS preflights, which carry no credential, reach the origin' },
  upgradeOrigin: {
    type: 'string',
    multiple: true,
    summary: 'an origin besides its own whose pages may open WebSockets here',
  },
} as const satisfies HostOptionSpecs

export const UNSET = {
  unset: { type: 'string', multiple: true, summary: 'one of these that is to be as it is by default again' },
} as const satisfies HostOptionSpecs

type Given = Values<typeof APPLICATION_OPTIONS>

/** What the flags change of what there is. @throws PosternError OPTION_INVALID, OPTION_CONFLICT */
export function optionsFrom(given: Given, before: ApplicationOptions = {}, unset: readonly string[] = []) {
  const { name, contact, session, idle, authorizationHeader, preflight, upgradeOrigin } = given
  const set: ApplicationOptions = {
    ...(name !== undefined && { name }),
    ...(contact !== undefined && { contact }),
    ...(session !== undefined && { sessionSeconds: seconds(session) }),
    ...(idle !== undefined && { idleSeconds: seconds(idle) }),
    ...(authorizationHeader !== undefined && { authorizationHeader }),
    ...(preflight !== undefined && { preflight }),
    ...(upgradeOrigin.length > 0 && { upgradeOrigins: [...upgradeOrigin] }),
  }
  const gone = unset.map(memberOf)
  const both = gone.find(key => key in set)
  if (both !== undefined) throw new PosternError('OPTION_CONFLICT', `${both} cannot be set and unset`)
  const kept = Object.entries(before).filter(([key]) => !gone.includes(key as keyof ApplicationOptions))
  const options: ApplicationOptions = { ...Object.fromEntries(kept), ...set }
  return Object.keys(options).length > 0 ? { options } : {}
}

const MEMBERS: Readonly<Record<string, keyof ApplicationOptions>> = {
  name: 'name',
  contact: 'contact',
  session: 'sessionSeconds',
  idle: 'idleSeconds',
  'authorization-header': 'authorizationHeader',
  preflight: 'preflight',
  'upgrade-origin': 'upgradeOrigins',
}

function memberOf(flag: string): keyof ApplicationOptions {
  const member = Object.hasOwn(MEMBERS, flag) ? MEMBERS[flag] : undefined
  if (member !== undefined) return member
  throw new PosternError('OPTION_INVALID', `--unset is one of ${Object.keys(MEMBERS).join(', ')}`)
}
