import { auditDaysOf } from '@postern/store'
import type { Handlers } from './handling.ts'

/** The store reads it by this key. */
const AUDIT_DAYS = 'auditDays'

export const SETTINGS: Handlers<'settings.get' | 'settings.put'> = {
  'settings.get': ({ store }) => ({ auditDays: auditDaysOf(store.snapshot.settings.get(AUDIT_DAYS)) }),
  'settings.put': (handling, { body: { auditDays } }) =>
    handling.change(({ settings }) => {
      const before = auditDaysOf(settings.get(AUDIT_DAYS))
      return {
        changes: auditDays === before ? [] : [{ put: 'setting', key: AUDIT_DAYS, value: auditDays }],
        action: 'settings.put',
        detail: { auditDays: { before, after: auditDays } },
        answer: () => ({ auditDays }),
      }
    }),
}
