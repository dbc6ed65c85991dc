import type { Settings } from '@postern/admin'
import { command } from './command.ts'
import { facts } from './show.ts'

export const SETTINGS = command({
  summary: 'show how the edge is set, or set it otherwise',
  options: {
    auditDays: {
      type: 'number',
      summary: 'how many days the audit log keeps who came, 1 to 36500; changes stay for ever',
    },
  },
  example: 'postern admin settings --audit-days 30',
  run: ({ values: { auditDays }, ask }): Promise<Settings> =>
    auditDays === undefined ? ask('settings.get', {}) : ask('settings.put', { body: { auditDays } }),
  show: ({ auditDays }) => facts([['audit days', auditDays]]),
})
