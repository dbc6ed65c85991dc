import { ROUTES, type Settings } from '@postern/admin'
import { PosternError } from '@postern/interface'
import { formatDuration } from '@postern/options'
import { command } from './command.ts'
import { seconds } from './options.ts'
import { facts } from './show.ts'

const UNSETTABLE = { idle: { sessionIdleSeconds: null }, administrator: { administrators: [] } } as const

export const SETTINGS = command({
  summary: 'show how the edge is set, or set it otherwise',
  options: {
    auditDays: {
      type: 'number',
      summary: 'how many days the audit log keeps who came, 1 to 36500; changes stay for ever',
    },
    session: { type: 'duration', summary: 'how long a sign-in lasts, where an application says nothing else' },
    idle: { type: 'duration', summary: 'how long without use until people sign in again' },
    administrator: {
      type: 'string',
      multiple: true,
      summary: 'who administers in the browser, instead of all others: an email, or a selector as JSON',
    },
    unset: { type: 'string', multiple: true, summary: 'idle, or administrator: none' },
  },
  example: 'postern admin settings --session 12h --administrator ann@example.com',
  run({ values: { auditDays, session, idle, administrator, unset }, ask }): Promise<Settings> {
    const body = {
      ...Object.assign({}, ...unset.map(unsetting)),
      ...(auditDays !== undefined && { auditDays }),
      ...(session !== undefined && { sessionSeconds: seconds(session) }),
      ...(idle !== undefined && { sessionIdleSeconds: seconds(idle) }),
      ...(administrator.length > 0 && { administrators: administrator.map(selectorOf) }),
    }
    return Object.keys(body).length === 0 ? ask('settings.get', {}) : ask('settings.put', { body })
  },
  show: ({ auditDays, sessionSeconds, sessionIdleSeconds, administrators }) =>
    facts([
      ['audit days', auditDays],
      ['session', formatDuration(sessionSeconds * 1000)],
      ['idle', sessionIdleSeconds && formatDuration(sessionIdleSeconds * 1000)],
      ['administrators', administrators.map(one => JSON.stringify(one)).join(' ')],
    ]),
})

function unsetting(flag: string): object {
  const key = flag as keyof typeof UNSETTABLE
  if (Object.hasOwn(UNSETTABLE, key)) return UNSETTABLE[key]
  throw new PosternError('OPTION_INVALID', '--unset is idle or administrator')
}

type Selector = Settings['administrators'][number]

const SELECTOR = ROUTES['group.put'].body.shape.selectors.element

function selectorOf(text: string): Selector {
  if (!text.startsWith('{')) return { email: text }
  try {
    return SELECTOR.parse(JSON.parse(text))
  } catch (cause) {
    const next = `For example --administrator '{"group":"admins"}'.`
    throw new PosternError('OPTION_INVALID', '--administrator is neither an email nor a selector', { cause, next })
  }
}
