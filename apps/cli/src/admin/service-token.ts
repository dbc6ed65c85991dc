import type { ServiceToken, ShownServiceToken } from '@postern/admin'
import { command, group } from './command.ts'
import { EXPIRES, lifetime, OUT, OVERLAP, overlapping } from './options.ts'
import { type Kept, keep } from './secret-files.ts'
import { facts, relative, table, validity } from './show.ts'

export const SERVICE_TOKEN = group('Make, see, rotate and revoke service tokens, the credentials of machines', {
  create: command({
    summary: 'make a service token; its secret is printed once',
    words: ['NAME'],
    options: { ...EXPIRES, ...OUT },
    example: 'postern admin service-token create ci --expires-in 90d --out ./ci-secret',
    run: ({ words, values, ask }) =>
      keep(values.out, 'secret', () =>
        ask('service-token.create', { body: { name: words.NAME, ...lifetime(values) } }),
      ),
    show: shown,
  }),
  list: command({
    summary: 'list the service tokens',
    example: 'postern admin service-token list',
    run: ({ ask }) => ask('service-token.list', {}),
    show: tokens => table(['NAME', 'ID', 'VALIDITY', 'MADE'], tokens.map(rowOf)),
  }),
  info: command({
    summary: 'show a service token',
    words: ['TOKEN'],
    example: 'postern admin service-token info ci',
    run: ({ words, ask }) => ask('service-token.get', { params: { token: words.TOKEN } }),
    show: describe,
  }),
  rotate: command({
    summary: 'give a service token a new secret; who came with the old one is cut off',
    words: ['TOKEN'],
    options: { ...OVERLAP, ...OUT },
    example: 'postern admin service-token rotate ci --overlap 1h --out ./ci-secret-2',
    run: ({ words, values, ask }) =>
      keep(values.out, 'secret', () =>
        ask('service-token.rotate', { params: { token: words.TOKEN }, body: overlapping(values) }),
      ),
    show: shown,
  }),
  revoke: command({
    summary: 'revoke a service token; its connections are cut off',
    words: ['TOKEN'],
    example: 'postern admin service-token revoke ci',
    async run({ words, ask }) {
      await ask('service-token.revoke', { params: { token: words.TOKEN } })
      return { token: words.TOKEN, revoked: true }
    },
    show: ({ token }) => `the service token ${token} is revoked\n`,
  }),
})

function rowOf(token: ServiceToken) {
  return [token.name, token.id, validity(token), relative(token.createdAt)]
}

function describe(token: ServiceToken): string {
  return facts([
    ['name', token.name],
    ['id', token.id],
    ['validity', validity(token)],
    ['made', token.createdAt],
    ['expires', token.expiresAt],
    ['revoked', token.revokedAt],
    ['old secret until', token.previousUntil],
  ])
}

/** Name, id and secret: what a client is given. */
function shown(token: Kept<ShownServiceToken, 'secret'>, { say }: { say(line: string): void }): string {
  if (token.file === undefined) say('The secret is shown once and kept nowhere; put it in a file of mode 600:')
  return facts([
    ['name', token.name],
    ['id', token.id],
    ['expires', token.expiresAt],
    token.file === undefined ? ['secret', token.secret] : ['secret file', token.file],
  ])
}
