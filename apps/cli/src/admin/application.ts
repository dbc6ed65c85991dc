import type { Application } from '@postern/admin'
import { formatDuration } from '@postern/options'
import { APPLICATION_OPTIONS, optionsFrom, UNSET } from './application-options.ts'
import { asSeen } from './as-seen.ts'
import { command, group } from './command.ts'
import { facts, relative, safe, table } from './show.ts'

const PROTOCOL = {
  protocol: { type: 'string', multiple: true, summary: 'what it speaks, for example ssh (default: tcp)' },
} as const

export const APPLICATION = group('Make, see and remove applications', {
  create: command({
    summary: 'make an application, which lets nobody in yet',
    words: ['HOSTNAME'],
    options: {
      tunnel: { type: 'string', required: true, summary: 'the tunnel whose daemon reaches it' },
      ...PROTOCOL,
      ...APPLICATION_OPTIONS,
    },
    example: 'postern admin app create db.example.com --tunnel home --protocol tcp',
    run: ({ words, values, ask }) =>
      ask('application.create', {
        body: {
          hostname: words.HOSTNAME,
          tunnel: values.tunnel,
          ...(values.protocol.length > 0 && { protocols: [...values.protocol] }),
          ...optionsFrom(values),
        },
      }),
    async show({ hostname }, { place, say }) {
      const { again } = await place()
      say('Next, a rule that lets people in:')
      say(`  postern admin policy allow ${hostname} --email ann@example.com${again}`)
      say('or a service token and a rule that lets it in:')
      say(`  postern admin service-token create NAME${again}`)
      say(`  postern admin policy allow ${hostname} --service-token NAME${again}`)
      return `the application ${hostname} is made\n`
    },
  }),
  list: command({
    summary: 'list the applications',
    example: 'postern admin app list',
    run: ({ ask }) => ask('application.list', {}),
    show: applications =>
      table(['HOSTNAME', 'TUNNEL', 'PROTOCOLS', 'RULES', 'ONLINE', 'MADE'], applications.map(rowOf)),
  }),
  info: command({
    summary: 'show an application',
    words: ['HOSTNAME'],
    example: 'postern admin app info db.example.com',
    run: ({ words, ask }) => ask('application.get', { params: { hostname: words.HOSTNAME } }),
    show: describe,
  }),
  update: command({
    summary:
      'give an application another tunnel, which cuts off who uses it, other protocols or options; its rules stay',
    words: ['HOSTNAME'],
    options: {
      tunnel: { type: 'string', summary: 'the tunnel whose daemon reaches it (default: as it is)' },
      protocol: { ...PROTOCOL.protocol, summary: 'what it speaks, instead of all it spoke (default: as it is)' },
      ...APPLICATION_OPTIONS,
      ...UNSET,
    },
    example: 'postern admin app update db.example.com --tunnel office',
    async run({ words, values, ask }) {
      const params = { hostname: words.HOSTNAME }
      return asSeen(async () => {
        const { version: ifVersion } = await ask('status.get', {})
        const { tunnel, protocols, rules, options } = await ask('application.get', { params })
        const wanted = {
          tunnel: values.tunnel ?? tunnel,
          protocols: values.protocol.length > 0 ? [...values.protocol] : protocols,
        }
        return ask('application.put', {
          params,
          body: { ...wanted, rules, ...optionsFrom(values, options, values.unset), ifVersion },
        })
      })
    },
    show: describe,
  }),
  delete: command({
    summary: 'remove an application; everybody is cut off',
    words: ['HOSTNAME'],
    example: 'postern admin app delete db.example.com',
    async run({ words, ask }) {
      await ask('application.delete', { params: { hostname: words.HOSTNAME } })
      return { hostname: words.HOSTNAME, deleted: true }
    },
    show: ({ hostname }) => `the application ${safe(hostname)} is removed\n`,
  }),
})

function rowOf({ hostname, tunnel, protocols, rules, online, createdAt }: Application) {
  return [hostname, tunnel, protocols.join(' '), rules.length, online, relative(createdAt)]
}

function describe({ hostname, tunnel, protocols, rules, options = {}, online, createdAt }: Application): string {
  const { sessionSeconds, idleSeconds, upgradeOrigins, ...plain } = options
  const known = facts([
    ['hostname', hostname],
    ['tunnel', tunnel],
    ['protocols', protocols.join(' ')],
    ['online', online],
    ['made', createdAt],
    ['name', plain.name],
    ['contact', plain.contact],
    ['session', sessionSeconds && formatDuration(sessionSeconds * 1000)],
    ['idle', idleSeconds && formatDuration(idleSeconds * 1000)],
    ['Authorization header', plain.authorizationHeader],
    ['preflights', plain.preflight],
    ['upgrade origins', upgradeOrigins?.join(' ')],
  ])
  const list = table(
    ['RULE', 'ACTION', 'INCLUDES'],
    rules.map(({ name, action, include }) => [name, action, include.map(one => JSON.stringify(one)).join(' ')]),
  )
  return list === '' ? `${known}\nno rules: it lets nobody in\n` : `${known}\n${list}`
}
