import type { InvitedUser, User } from '@postern/admin'
import { PosternError } from '@postern/interface'
import { command, group } from './command.ts'
import { OUT } from './options.ts'
import { type Kept, keep } from './secret-files.ts'
import { facts, relative, safe, table } from './show.ts'

const GROUP = {
  group: { type: 'string', multiple: true, summary: 'a group they are in, for rules that name one' },
} as const
const LINK = { out: { ...OUT.out, summary: 'write the link into this new file (mode 0600) instead of printing it' } }

export const USER = group('Invite, see and remove the people of the edge’s own directory', {
  invite: command({
    summary: 'add a person; whoever opens the link that is printed, once, within seven days, sets the password',
    words: ['EMAIL'],
    options: { name: { type: 'string', summary: 'what they are called' }, ...GROUP, ...LINK },
    example: 'postern admin user invite ann@example.com --group ops',
    run: ({ words, values: { name, group: groups, out }, ask }) =>
      keep(out, 'link', () =>
        ask('user.invite', { body: { email: words.EMAIL, groups: [...groups], ...(name !== undefined && { name }) } }),
      ),
    show: linked,
  }),
  list: command({
    summary: 'list the people',
    example: 'postern admin user list',
    run: ({ ask }) => ask('user.list', {}),
    show: users => table(['EMAIL', 'NAME', 'GROUPS', 'STATE', 'MADE'], users.map(rowOf)),
  }),
  info: command({
    summary: 'show a person, by email or id',
    words: ['USER'],
    example: 'postern admin user info ann@example.com',
    run: ({ words, ask }) => ask('user.get', { params: { user: words.USER } }),
    show: describe,
  }),
  update: command({
    summary: 'change a person; with other groups, or disabled, their sessions end',
    words: ['USER'],
    options: {
      name: { type: 'string', summary: 'what they are called (default: as it is)' },
      group: { ...GROUP.group, summary: 'a group they are in, instead of all they were in (default: as it is)' },
      noGroup: { type: 'boolean', default: false, summary: 'take them out of all groups' },
      disabled: { type: 'boolean', summary: 'keep them out, or, with --no-disabled, let them in again' },
    },
    example: 'postern admin user update ann@example.com --group ops --group staff',
    run({ words, values: { name, group: groups, noGroup, disabled }, ask }) {
      if (noGroup && groups.length > 0)
        throw new PosternError('OPTION_CONFLICT', '--group and --no-group contradict each other')
      const body = {
        ...(name !== undefined && { name }),
        ...((noGroup || groups.length > 0) && { groups: [...groups] }),
        ...(disabled !== undefined && { disabled }),
      }
      if (Object.keys(body).length === 0)
        throw new PosternError('OPTION_MISSING', 'what to change is missing; give --name, --group or --disabled')
      return ask('user.put', { params: { user: words.USER }, body })
    },
    show: describe,
  }),
  reset: command({
    summary: 'end a person’s password and sessions; a new link is printed once',
    words: ['USER'],
    options: LINK,
    example: 'postern admin user reset ann@example.com',
    run: ({ words, values, ask }) =>
      keep(values.out, 'link', () => ask('user.reset', { params: { user: words.USER }, body: {} })),
    show: linked,
  }),
  delete: command({
    summary: 'remove a person; their sessions end',
    words: ['USER'],
    example: 'postern admin user delete ann@example.com',
    async run({ words, ask }) {
      await ask('user.delete', { params: { user: words.USER } })
      return { user: words.USER, deleted: true }
    },
    show: ({ user }) => `${safe(user)} is removed\n`,
  }),
})

function rowOf(user: User) {
  return [user.email, user.name, user.groups.join(', '), stateOf(user), relative(user.createdAt)]
}

function stateOf({ disabledAt, hasPassword, linkUntil }: User): string {
  if (disabledAt !== undefined) return `disabled ${relative(disabledAt)}`
  if (hasPassword) return 'good'
  const isOver = linkUntil === undefined || Date.parse(linkUntil) <= Date.now()
  return isOver ? 'invited, the link has expired' : `invited, the link expires ${relative(linkUntil)}`
}

function describe(user: User): string {
  return facts([
    ['email', user.email],
    ['name', user.name],
    ['groups', user.groups.join(', ')],
    ['state', stateOf(user)],
    ['id', user.id],
    ['made', user.createdAt],
  ])
}

function linked(user: Kept<InvitedUser, 'link'>, { say }: { say(line: string): void }): string {
  const { email, link, file, linkUntil } = user
  if (file !== undefined) return `the link for ${safe(email)} is in ${safe(file)}\n`
  say(`The link for ${email} is shown once, and good once, until ${linkUntil}; whoever opens it sets the password:`)
  return `${link}\n`
}
