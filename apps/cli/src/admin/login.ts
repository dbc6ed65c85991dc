import { hostname, userInfo } from 'node:os'
import { resolve } from 'node:path'
import type { EdgePlace } from '@postern/admin/client'
import { type Call, PosternError } from '@postern/interface'
import { readTrust } from '@postern/program'
import { readAdminToken, readSetupToken } from '@postern/tokens'
import { type Context, command } from './command.ts'
import { changeLogins, type Login, readLogins } from './logins.ts'
import { EXPIRES, lifetime } from './options.ts'
import { facts } from './show.ts'

const OPTIONS = {
  setupToken: { type: 'secret', summary: 'of a new edge: it is exchanged for your admin token' },
  token: { type: 'secret', summary: 'an admin token that somebody made for you' },
  name: { type: 'string', summary: 'of the new admin token (default: you@this-machine)' },
  ...EXPIRES,
} as const

type LoginContext = Context<never, typeof OPTIONS>

export const LOGIN = command({
  summary: 'remember an edge and an admin token for it, so that other commands need neither',
  options: OPTIONS,
  example: 'postern admin login --edge https://edge.example.com --setup-token-file ./setup-token',
  async run(context) {
    const { flags, program, call, values } = context
    const { setupToken, token } = tokensOf(values)
    if (flags.edge === undefined)
      throw new PosternError('OPTION_MISSING', '--edge is missing: the edge’s team domain, by https:')
    const { origin } = flags.edge
    const ca = flags.ca === undefined ? undefined : resolve(program.cwd, flags.ca)
    const place = { edge: flags.edge, ca: (await readTrust(ca)).ca }
    let actor = ''
    await changeLogins(
      program,
      async logins => {
        const known = token ?? (await exchange(place, setupToken ?? '', context))
        program.redactor.add(known)
        actor = await actorOf({ ...place, token: known }, call)
        const login: Login = { token: known, ...(ca !== undefined && { ca }) }
        return { current: origin, edges: { ...logins.edges, [origin]: login } }
      },
      call,
    )
    return { edge: origin, actor }
  },
  show: ({ edge, actor }) => `logged in at ${edge} as ${actor}\n`,
})

export const LOGOUT = command({
  summary: 'forget an edge and its admin token',
  options: { revoke: { type: 'boolean', default: false, summary: 'and revoke the token at the edge' } },
  example: 'postern admin logout --revoke',
  async run({ flags, values, program, call }) {
    const { current, edges } = await readLogins(program)
    const edge = flags.edge?.origin ?? current
    const login = edge === undefined ? undefined : edges[edge]
    if (edge === undefined || !login)
      throw new PosternError('NOT_FOUND', edge === undefined ? 'there is no login' : `there is no login at ${edge}`, {
        next: 'Nothing needs to be done.',
      })
    const id = values.revoke ? readAdminToken(login.token)?.id : undefined
    if (id !== undefined)
      await revoke(id, { edge: new URL(edge), token: login.token, ca: (await readTrust(login.ca)).ca }, call)
    await changeLogins(
      program,
      async logins => {
        const { [edge]: _gone, ...kept } = logins.edges
        const stays = logins.current === edge ? Object.keys(kept)[0] : logins.current
        return { ...(stays !== undefined && { current: stays }), edges: kept }
      },
      call,
    )
    return { edge, revoked: id !== undefined }
  },
  show: ({ edge, revoked }) => `logged out of ${edge}${revoked ? '; the token is revoked' : ''}\n`,
})

export const WHOAMI = command({
  summary: 'show as whom you administer, and which edge',
  example: 'postern admin whoami',
  run: async ({ ask, place }) => ({ edge: (await place()).name, ...(await ask('whoami.get', {})) }),
  show: ({ edge, actor, role, expiresAt }) =>
    facts([
      ['edge', edge],
      ['actor', actor],
      ['role', role],
      ['expires', expiresAt],
    ]),
})

export const STATUS = command({
  summary: 'show what runs at the edge',
  example: 'postern admin status',
  run: ({ ask }) => ask('status.get', {}),
  show: ({
    software,
    teamDomain,
    listen,
    version,
    applications,
    tunnels,
    connectors,
    sessions,
    auditable,
    plugins = [],
  }) =>
    facts([
      ['team domain', teamDomain],
      ['listens on', listen],
      ['software', software],
      ['version of its state', version],
      ['applications', applications],
      ['tunnels', tunnels],
      ['daemons', connectors],
      ['sessions', sessions],
      ['audit log', auditable ? 'written' : 'cannot be written: nobody is let in'],
      ...plugins.map(({ kind, name, state, asked, failed, restarts }): [string, string] => [
        `plugin ${kind} ${name}`,
        `${state}, asked ${asked}, failed ${failed}, started again ${restarts}`,
      ]),
    ]),
})

/** One of the two, and what it says it is. */
function tokensOf({ setupToken, token }: LoginContext['values']): { setupToken?: string; token?: string } {
  if (setupToken !== undefined && token !== undefined)
    throw new PosternError('OPTION_CONFLICT', '--setup-token and --token say the same thing')
  if (setupToken !== undefined && !readSetupToken(setupToken))
    throw new PosternError('OPTION_INVALID', 'that is no setup token', {
      next: 'An admin token is given by --token-file.',
    })
  if (token !== undefined && !readAdminToken(token))
    throw new PosternError('OPTION_INVALID', 'that is no admin token', {
      next: 'A setup token is given by --setup-token-file.',
    })
  if (setupToken !== undefined) return { setupToken }
  if (token !== undefined) return { token }
  throw new PosternError('OPTION_MISSING', 'a token is missing; give --setup-token-file FILE, or --token-file FILE')
}

async function exchange(
  place: Omit<EdgePlace, 'token'>,
  setupToken: string,
  { values, call }: LoginContext,
): Promise<string> {
  const { createAdminClient } = await import('@postern/admin/client')
  const body = { name: values.name ?? defaultName(), ...lifetime(values) }
  return (await createAdminClient({ ...place, token: setupToken }).call('setup.use', { body }, call)).token
}

async function actorOf(place: EdgePlace, call: Call): Promise<string> {
  const { createAdminClient } = await import('@postern/admin/client')
  return (await createAdminClient(place).call('whoami.get', {}, call)).actor
}

/** At the edge it is for, whichever one the variables mean. */
async function revoke(id: string, place: EdgePlace, call: Call): Promise<void> {
  const { createAdminClient } = await import('@postern/admin/client')
  await createAdminClient(place).call('admin-token.revoke', { params: { id } }, call)
}

/** `me@laptop`, in the letters a name may have. */
function defaultName(): string {
  const name = `${userInfo().username}@${hostname()}`.replace(/[^A-Za-z0-9._@+-]/g, '-')
  return name.replace(/^[^A-Za-z0-9]+/, '').slice(0, 64) || 'admin'
}
