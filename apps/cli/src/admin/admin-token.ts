import { type AdminToken, ROUTES } from '@postern/admin'
import { PosternError } from '@postern/interface'
import { command, group } from './command.ts'
import { EXPIRES, lifetime, OUT } from './options.ts'
import { keep } from './secret-files.ts'
import { facts, relative, table, validity } from './show.ts'

const ROLE = ROUTES['admin-token.create'].body.shape.role

export const ADMIN_TOKEN = group('Make, see and revoke admin tokens: who administers', {
  create: command({
    summary: 'make an admin token, which is printed once',
    words: ['NAME'],
    options: {
      role: { type: 'string', default: 'viewer', summary: 'viewer (reads) or admin (changes)' },
      ...EXPIRES,
      ...OUT,
    },
    example: 'postern admin token create monitoring --role viewer --out ./monitoring-token',
    async run({ words, values, ask }) {
      const role = ROLE.safeParse(values.role).data
      if (role === undefined) throw new PosternError('OPTION_INVALID', '--role is viewer or admin')
      const body = { name: words.NAME, role, ...lifetime(values) }
      return keep(values.out, 'token', () => ask('admin-token.create', { body }))
    },
    show({ id, name, role, expiresAt, token, file }, { say }) {
      if (file === undefined) say('The token is shown once and kept nowhere; put it in a file of mode 600:')
      const where = file === undefined ? (['token', token] as const) : (['token file', file] as const)
      return facts([['name', name], ['id', id], ['role', role], ['expires', expiresAt], where])
    },
  }),
  list: command({
    summary: 'list the admin tokens',
    example: 'postern admin token list',
    run: ({ ask }) => ask('admin-token.list', {}),
    show: tokens => table(['NAME', 'ID', 'ROLE', 'VALIDITY', 'MADE'], tokens.map(rowOf)),
  }),
  revoke: command({
    summary: 'revoke an admin token',
    words: ['ID'],
    example: 'postern admin token revoke pat_0123456789abcdef01234567',
    async run({ words, ask }) {
      await ask('admin-token.revoke', { params: { id: words.ID } })
      return { id: words.ID, revoked: true }
    },
    show: ({ id }) => `the admin token ${id} is revoked\n`,
  }),
})

function rowOf(token: AdminToken) {
  return [token.name, token.id, token.role, validity(token), relative(token.createdAt)]
}
