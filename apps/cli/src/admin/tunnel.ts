import { rm } from 'node:fs/promises'
import type { Tunnel } from '@postern/admin'
import { type Code, PosternError } from '@postern/interface'
import { command, group } from './command.ts'
import { addressOf, IDENTITY_FILE, makeIdentity, ROTATE, SETUP_TOKEN, SIGN } from './identity.ts'
import { EXPIRES, lifetime, OUT, OVERLAP, overlapping } from './options.ts'
import { keep } from './secret-files.ts'
import { facts, relative, shellWord, table, validity } from './show.ts'

/** What does not say that there is no such tunnel now: its key is kept then. */
const UNSAID: readonly Code[] = ['TIMED_OUT', 'EDGE_PROTOCOL', 'INTERNAL']

export const TUNNEL = group('Make and see tunnels, and give their daemons tokens', {
  create: command({
    summary: 'make a tunnel',
    words: ['NAME'],
    options: {
      identity: {
        type: 'boolean',
        default: true,
        summary: 'make the key that vouches for its daemons’ certificates, here; --no-identity leaves it out',
      },
      ...IDENTITY_FILE,
    },
    example: 'postern tunnel create home',
    async run({ words: { NAME: name }, values, program, ask }) {
      if (!values.identity && values.identityFile !== undefined)
        throw new PosternError('OPTION_CONFLICT', '--no-identity makes none, so there is none for --identity-file')
      const made = values.identity ? await makeIdentity(name, values.identityFile, program) : undefined
      try {
        const tunnel = await ask('tunnel.create', { body: { name, ...(made && { identity: made.certificate }) } })
        return { ...tunnel, ...(made && { identityFile: made.file }) }
      } catch (error) {
        if (made && PosternError.is(error) && !UNSAID.includes(error.code)) await rm(made.file, { force: true })
        throw error
      }
    },
    async show({ name, identity, identityFile }, { ask, place, say, flags: given }) {
      const { again } = await place()
      const { url, trust } = await addressOf(place, ask, given)
      const flags = `--edge ${url}${trust === undefined ? '' : ` --ca ${shellWord(trust)}`}`
      if (identity) {
        say('Its identity vouches for the certificates of its daemons. Keep the file: the key is nowhere else.')
        say(`  ${identity.fingerprint}`)
        say(`  ${identityFile}`)
        say('Next, on the machine of its daemon, a certificate:')
        say(`  posternd login --tunnel ${name} ${flags}`)
        say('or only a token, and the daemon beside your service:')
      } else say('Next, a token for its daemon, and the daemon beside your service:')
      say(`  postern tunnel token ${name} --out ./${name}-token${again}`)
      say(`  posternd --hostname HOSTNAME --url ssh://localhost:22 ${flags} --token-file ./${name}-token`)
      return `the tunnel ${name} is made\n`
    },
  }),
  list: command({
    summary: 'list the tunnels',
    example: 'postern tunnel list',
    run: ({ ask }) => ask('tunnel.list', {}),
    show: tunnels => table(['NAME', 'ONLINE', 'DAEMONS', 'APPLICATIONS', 'MADE', 'IDENTITY'], tunnels.map(rowOf)),
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
  rotate: ROTATE,
  'setup-token': SETUP_TOKEN,
  sign: SIGN,
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
    summary: 'cut a daemon off, and end its certificate; where none has one, rotate the token too',
    words: ['NAME', 'CONNECTOR'],
    example: 'postern tunnel evict home 6f0f2f9e-8d0b-4d5e-9d3c-0c1d6a1f2b3c',
    async run({ words, ask }) {
      await ask('connector.evict', { params: { name: words.NAME, id: words.CONNECTOR } })
      return { tunnel: words.NAME, id: words.CONNECTOR, evicted: true }
    },
    show: ({ id }) => `the daemon ${id} is cut off\n`,
  }),
})

function rowOf({ name, online, connectors, applications, createdAt, identity }: Tunnel) {
  return [name, online, connectors.length, applications.join(' '), relative(createdAt), identity?.fingerprint]
}

function describe({ name, online, createdAt, applications, connectors, tokens, ...more }: Tunnel): string {
  const { identity, needsCertificate, enrolled } = more
  const parts = [
    facts([
      ['name', name],
      ['online', online],
      ['made', createdAt],
      ['applications', applications.join(' ')],
      ['identity', identity?.fingerprint],
      ['daemons need', needsCertificate ? 'a token and a certificate' : 'a token'],
    ]),
    table(
      ['DAEMON', 'VERSION', 'FROM', 'SINCE', 'CONNECTIONS', 'TOKEN', 'CERTIFICATE'],
      connectors.map(one => [
        one.id,
        one.version,
        one.remoteAddresses.join(' '),
        relative(one.since),
        one.connections,
        one.tokenId,
        one.fingerprint,
      ]),
    ),
    table(
      ['CERTIFICATE', 'DAEMON', 'MACHINE', 'VALIDITY', 'MADE'],
      enrolled.map(one => [one.fingerprint, one.id, one.host, validity(one), relative(one.createdAt)]),
    ),
    table(
      ['TOKEN', 'VALIDITY', 'MADE'],
      tokens.map(one => [one.id, validity(one), relative(one.createdAt)]),
    ),
  ]
  return parts.filter(part => part !== '').join('\n')
}
