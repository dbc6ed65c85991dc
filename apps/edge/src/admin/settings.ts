import type { Answer, Checked } from '@postern/admin'
import type { Json } from '@postern/interface'
import { auditDaysOf, type Change, type Snapshot } from '@postern/store'
import { SESSION_SECONDS } from '../sign-in/sessions.ts'
import { checkAdministrators } from './administrators.ts'
import type { Handlers } from './handling.ts'
import { ADMINISTRATORS, administratorsOf } from './records.ts'
import { fitting, sentSelectors } from './rules.ts'

/** Who reads them reads them by these keys. */
const KEYS = ['auditDays', 'sessionSeconds', 'sessionIdleSeconds', ADMINISTRATORS] as const

export const SETTINGS: Handlers<'settings.get' | 'settings.put'> = {
  'settings.get': ({ store }) => settingsOf(store.snapshot),
  'settings.put': (handling, { body }) =>
    handling.change(snapshot => {
      if (body.administrators !== undefined) checkAdministrators(body.administrators, snapshot.groups)
      const before = settingsOf(snapshot)
      const changed = KEYS.filter(key => isChanged(body[key], before[key]))
      return {
        changes: changed.map((key): Change => ({ put: 'setting', key, value: (body[key] ?? null) as Json })),
        action: 'settings.put',
        detail: Object.fromEntries(changed.map(key => [key, { before: told(before[key]), after: told(body[key]) }])),
        answer: settingsOf,
      }
    }),
}

function settingsOf({ settings, ...snapshot }: Snapshot): Answer<'settings.get'> {
  const [length, idle] = [settings.get('sessionSeconds'), settings.get('sessionIdleSeconds')]
  return {
    auditDays: auditDaysOf(settings.get('auditDays')),
    sessionSeconds: typeof length === 'number' ? length : SESSION_SECONDS,
    ...(typeof idle === 'number' && { sessionIdleSeconds: idle }),
    administrators: sentSelectors(administratorsOf({ settings, ...snapshot }), id => id),
  }
}

type Wanted = Checked<'settings.put'>['body'][(typeof KEYS)[number]]

/** Left out is as it is; null is none. */
function isChanged(wanted: Wanted, before: Wanted): boolean {
  return wanted !== undefined && JSON.stringify(wanted) !== JSON.stringify(before ?? null)
}

const MOST_TOLD = 3500

function told(value: Wanted): Json {
  return Array.isArray(value) ? fitting(value as Json[], MOST_TOLD) : ((value ?? null) as Json)
}
