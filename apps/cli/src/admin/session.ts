import type { Session, WantedSessions } from '@postern/admin'
import { PosternError } from '@postern/interface'
import { command, group } from './command.ts'
import { relative, table } from './show.ts'

export const SESSION = group('See who is signed in, and end sessions', {
  list: command({
    summary: 'list the sessions',
    options: {
      user: { type: 'string', summary: 'of this person only: the email, or the subject' },
      app: { type: 'string', summary: 'of those only that were let into this application' },
    },
    example: 'postern admin session list --user ann@example.com',
    run: ({ values: { user, app }, ask }) =>
      ask('session.list', {
        query: { ...(user !== undefined && { user }), ...(app !== undefined && { application: app }) },
      }),
    show: sessions =>
      table(['ID', 'WHO', 'VIA', 'FROM', 'SINCE', 'SEEN', 'EXPIRES', 'APPLICATIONS'], sessions.map(rowOf)),
  }),
  revoke: command({
    summary: 'end sessions: what they opened is cut off, and whoever it was signs in again',
    options: {
      id: { type: 'string', summary: 'this one' },
      user: { type: 'string', summary: 'all of the person with this email' },
      issuer: { type: 'string', summary: 'with --subject: all of the person whom this provider calls so' },
      subject: { type: 'string', summary: 'see --issuer' },
      app: { type: 'string', summary: 'all that were let into this application' },
    },
    example: 'postern admin session revoke --user ann@example.com',
    run: ({ values, ask }) => ask('session.revoke', { body: wanted(values) }),
    show: ({ revoked }) => `${revoked === 1 ? 'one session' : `${revoked} sessions`} ended\n`,
  }),
})

interface Given {
  readonly id: string | undefined
  readonly user: string | undefined
  readonly issuer: string | undefined
  readonly subject: string | undefined
  readonly app: string | undefined
}

/** @throws PosternError OPTION_MISSING, OPTION_CONFLICT */
function wanted({ id, user, issuer, subject, app }: Given): WantedSessions {
  if ((issuer === undefined) !== (subject === undefined))
    throw new PosternError('OPTION_MISSING', '--issuer and --subject go together')
  const ways: WantedSessions[] = [
    ...(id === undefined ? [] : [{ session: id }]),
    ...(user === undefined ? [] : [{ email: user }]),
    ...(issuer === undefined || subject === undefined ? [] : [{ issuer, subject }]),
    ...(app === undefined ? [] : [{ application: app }]),
  ]
  const [way, another] = ways
  if (another !== undefined) throw new PosternError('OPTION_CONFLICT', 'name sessions in one way')
  if (way !== undefined) return way
  throw new PosternError(
    'OPTION_MISSING',
    'which sessions is missing; give --id, --user, --issuer and --subject, or --app',
  )
}

function rowOf(one: Session) {
  const { id, email, name, subject, via, remoteAddress, createdAt, seenAt, expiresAt, applications } = one
  const times = [createdAt, seenAt, expiresAt].map(instant => relative(instant))
  return [id, email ?? name ?? subject, via, remoteAddress, ...times, applications.join(' ')]
}
