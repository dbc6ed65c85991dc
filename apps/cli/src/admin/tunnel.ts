import { join } from 'node:path'
import type { Tunnel } from '@postern/admin'
import { PosternError } from '@postern/interface'
import { command, group } from './command.ts'
import { EXPIRES, lifetime, OUT, OVERLAP, overlapping } from './options.ts'
import { keep } from './secret-files.ts'
import { facts, relative, shellWord, table, validity } from './show.ts'

export const TUNNEL = group('Make and see tunnels, and give their daemons tokens', {
  create: command({
    summary: 'make a tunnel',
    words: ['NAME'],
    example: 'postern tunnel create home',
    run: ({ words, ask }) => ask('tunnel.create', { body: { name: words.NAME } }),
    async show({ name }, { ask, place, say }) {
      const { edge, ca, data, again } = await place()
      const { url, ownCa } = await ask('status.get', {})
      const trust = ca ?? (edge === undefined && ownCa ? join(data ?? 'FOLDER_OF_THE_EDGE', 'ca', 'ca.pem') : undefined)
      const flags = `--edge ${edge?.origin ?? url}${trust === undefined ? '' : ` --ca ${shellWord(trust)}`}`
      say('Next, a token for its daemon, and the daemon beside your service:')
      say(`  postern tunnel token ${name} --out ./${name}-token${again}`)
      say(`  posternd --hostname HOSTNAME --url ssh://localhost:22 ${flags} --token-file ./${name}-token`)
      return `the tunnel ${name} is made\n`
    },
  }),
  list: command({
    summary: 'list the tunnels',
    example: 'postern tunnel list',
    run: ({ ask }) => ask('tunnel.list', {}),
    show: tunnels => table(['NAME', 'ONLINE', 'DAEMONS', 'APPLICATIONS', 'MADE'], tunnels.map(rowOf)),
  }),
  info: command({
    summary: 'show a tunnel, its daemons and its tokens',
    words: ['NAME'],
    example: 'postern tunnel info home',
    run: ({ words, ask }) => ask('tunnel.get', { params: { name: words.NAME } }),
    show: describe,
  }),
  delete: command({
    summary: 'remove a tunnel that no application uses',
    words: ['NAME'],
    example: 'postern tunnel delete home',
    async run({ words, ask }) {
      await ask('tunnel.delete', { params: { name: words.NAME } })
      return { name: words.NAME, deleted: true }
    },
    show: ({ name }) => `the tunnel ${name} is removed\n`,
  }),
  token: command({
    summary: 'make a token for a tunnel’s daemons, which is printed once',
    words: ['NAME'],
    options: {
      rotate: { type: 'boolean', default: false, summary: 'instead of all tokens there are' },
      ...OVERLAP,
      ...EXPIRES,
      ...OUT,
    },
    example: 'postern tunnel token home --out ./home-token',
    async run({ words, values, ask }) {
      const { rotate, overlap, expiresIn, out } = values
      if (rotate && expiresIn !== undefined)
        throw new PosternError(
          'OPTION_CONFLICT',
          '--rotate makes a token that does not expire: --expires-in is for others',
        )
      if (!rotate && overlap !== undefined)
        throw new PosternError('OPTION_CONFLICT', '--overlap goes with --rotate: without it the old tokens stay good')
      const params = { name: words.NAME }
      return keep(out, 'token', () =>
        rotate
          ? ask('tunnel-token.rotate', { params, body: overlapping(values) })
          : ask('tunnel-token.create', { params, body: lifetime(values) }),
      )
    },
    show({ id, token, file }, { say }) {
      if (file !== undefined) return `the token ${id} is in ${file}\n`
      say(`The token ${id} is shown once and kept nowhere:`)
      return `${token}\n`
    },
  }),
  revoke: command({
    summary: 'revoke one token of a tunnel; daemons that came with it are cut off',
    words: ['NAME', 'TOKEN'],
    example: 'postern tunnel revoke home 0123456789abcdef',
    async run({ words, ask }) {
      await ask('tunnel-token.revoke', { params: { name: words.NAME, id: words.TOKEN } })
      return { tunnel: words.NAME, id: words.TOKEN, revoked: true }
    },
    show: ({ id }) => `the token ${id} is revoked\n`,
  }),
  evict: command({
    summary: 'cut a daemon off; who holds a token can come back, so rotate that too',
    words: ['NAME', 'CONNECTOR'],
    example: 'postern tunnel evict home 6f0f2f9e-8d0b-4d5e-9d3c-0c1d6a1f2b3c',
    async run({ words, ask }) {
      await ask('connector.evict', { params: { name: words.NAME, id: words.CONNECTOR } })
      return { tunnel: words.NAME, id: words.CONNECTOR, evicted: true }
    },
    show: ({ id }) => `the daemon ${id} is cut off\n`,
  }),
})

function rowOf({ name, online, connectors, applications, createdAt }: Tunnel) {
  return [name, online, connectors.length, applications.join(' '), relative(createdAt)]
}

function describe({ name, online, createdAt, applications, connectors, tokens }: Tunnel): string {
  const parts = [
    facts([
      ['name', name],
      ['online', online],
      ['made', createdAt],
      ['applications', applications.join(' ')],
    ]),
    table(
      ['DAEMON', 'VERSION', 'FROM', 'SINCE', 'CONNECTIONS', 'TOKEN'],
      connectors.map(one => [
        one.id,
        one.version,
        one.remoteAddresses.join(' '),
        relative(one.since),
        one.connections,
        one.tokenId,
      ]),
    ),
    table(
      ['TOKEN', 'VALIDITY', 'MADE'],
      tokens.map(one => [one.id, validity(one), relative(one.createdAt)]),
    ),
  ]
  return parts.filter(part => part !== '').join('\n')
}
