import { unlink } from 'node:fs/promises'
import { hostname } from 'node:os'
import { resolve } from 'node:path'
import type { Trust } from '@postern/client'
import { checkAuthority, checkIdentity } from '@postern/connector'
import {
  type Credentials,
  changeCredentials,
  credentialsFile,
  mustBeWritable,
  readCredentials,
  readSetupFile,
  writeJson,
} from '@postern/connector/files'
import { type Call, PosternError } from '@postern/interface'
import {
  createSecretReader,
  type HostOptionSpecs,
  parseCommandLine,
  readOptions,
  readSecretFile,
  renderHelp,
  resolvePending,
  type Values,
} from '@postern/options'
import { PROGRAM_FLAGS, type Program, readLevel } from '@postern/program'
import type { DaemonCommand } from '../commands.ts'
import { trustOf } from '../credentials.ts'
import { RUN_FLAGS } from '../flags.ts'

export const LOGIN_FLAGS = {
  edge: { type: 'url', summary: RUN_FLAGS.edge.summary, env: RUN_FLAGS.edge.env },
  ca: RUN_FLAGS.ca,
  tunnel: {
    type: 'string',
    summary: 'the tunnel, which is made where there is none of that name (default: this machine’s name)',
    env: ['POSTERN_TUNNEL'],
  },
  setupToken: {
    type: 'path',
    summary: 'the file that postern tunnel setup-token wrote: for machines, without a person',
  },
  identityFile: { type: 'path', summary: 'the tunnel’s identity, where it is not in this user’s folder' },
  credentials: {
    type: 'path',
    summary: 'where to leave what posternd needs (default: connector.json in this user’s folder)',
    env: RUN_FLAGS.credentials.env,
  },
  ...PROGRAM_FLAGS,
} as const satisfies HostOptionSpecs

type Flags = Values<typeof LOGIN_FLAGS>

/** What came of it, for people and programs. */
interface LoggedIn {
  readonly edge: string
  readonly tunnel: string
  readonly connector: string
  readonly fingerprint: string
  readonly expiresAt: string
  readonly credentials: string
}

/** `posternd login`: gives this machine's daemon a key of its own, a certificate for it and a token, in one file. */
export async function login(
  argv: readonly string[],
  program: Program,
  outer: Call,
  { summary, examples = [] }: DaemonCommand,
): Promise<void> {
  const line = parseCommandLine(argv, LOGIN_FLAGS)
  if (line.given.some(one => one.option === 'help')) {
    const usage = 'posternd login (--edge URL [--tunnel NAME] | --setup-token FILE) [options]'
    return program.print(renderHelp({ usage, summary, sections: [{ title: 'Options', specs: LOGIN_FLAGS }], examples }))
  }
  const { words } = resolvePending(line, [], { own: LOGIN_FLAGS })
  if (words.length > 0) throw new PosternError('BAD_USAGE', `nothing is done with ${JSON.stringify(words[0])}`)
  const { env, cwd, redactor } = program
  const sources = { given: line.given, env, cwd, redactor, secrets: createSecretReader(undefined) }
  const { values } = await readOptions(LOGIN_FLAGS, sources, outer.signal)
  const call: Call = { signal: program.stop.gently, log: program.log(readLevel(values.logLevel)) }
  const path = values.credentials ?? credentialsFile(env)
  const before = await credentialsAt(path, call)
  await mustBeWritable(path)
  const made =
    values.setupToken === undefined
      ? await loginByPerson(values, before, path, program, call)
      : await loginBySetupToken(values, before, path, program, call)
  const { tunnel, connector, fingerprint } = made
  program.print(
    program.json
      ? `${JSON.stringify(made)}\n`
      : `this machine is the connector ${connector} of the tunnel ${tunnel}\ncertificate ${fingerprint}\n` +
          `what posternd needs is in ${path}\n${path === credentialsFile(env) ? 'posternd finds it by itself' : `Next: posternd run --credentials ${path} …`}\n`,
  )
}

async function loginByPerson(
  values: Flags,
  before: Credentials | undefined,
  path: string,
  program: Program,
  call: Call,
): Promise<LoggedIn> {
  // Again on the same machine: what it was before says all of it.
  const { edge = before && new URL(before.edge), tunnel = before?.tunnel ?? tunnelOf(hostname()) } = values
  if (edge === undefined)
    throw new PosternError('OPTION_MISSING', '--edge is missing: the edge’s team domain, by https:', {
      next: 'Give --edge URL, and an administrator signs in; or --setup-token FILE, which an administrator made.',
    })
  mustReplace(before, { edge: edge.origin, tunnel }, path)
  const trust = await trustOf(values.ca, before)
  const { administer } = await import('./administering.ts')
  const { enrol, retire } = await import('./enrolling.ts')
  await using administration = await administer({ edge, tunnel, trust }, program, call)
  const known = { tunnel, identityFile: values.identityFile }
  const { made, one, certificate, identity } = await enrol(known, administration, program, call)
  const { token, fingerprint, expiresAt, grantKeys } = made
  const proved = { certificate, key: one.key, identity, ...(grantKeys && { grantKeys }) }
  const replaced = await keep(path, edge, trust, { tunnel, connector: one.id, token, ...proved }, call)
  if (replaced) await retire(tunnel, replaced.connector, administration, call)
  return { edge: edge.origin, tunnel, connector: one.id, fingerprint, expiresAt, credentials: path }
}

async function loginBySetupToken(
  { setupToken = '', tunnel: wanted, edge: elsewhere, ca }: Flags,
  before: Credentials | undefined,
  path: string,
  program: Program,
  call: Call,
): Promise<LoggedIn> {
  if (wanted !== undefined)
    throw new PosternError('OPTION_CONFLICT', '--setup-token names its tunnel itself: leave --tunnel out')
  const file = readSetupFile(await readSecretFile(setupToken, '--setup-token', call.signal), setupToken)
  program.redactor.add(file.token)
  const edge = elsewhere ?? new URL(file.edge)
  mustReplace(before, { edge: edge.origin, tunnel: file.tunnel }, path)
  const trust = await trustOf(ca, file)
  const { createConnector, signConnector } = await import('@postern/connector/issue')
  const { createAdminClient } = await import('@postern/admin/client')
  const { authority, identity } = file
  const { connector } = checkAuthority(authority, checkIdentity(identity), file.tunnel)
  const one = await createConnector(connector)
  const certificate = await signConnector({ cert: authority, key: file.authorityKey }, file.tunnel, one)
  const client = createAdminClient({ edge, token: file.token, ca: trust.ca })
  const body = { certificate, host: one.host }
  const made = await client.call('connector-setup.use', { body }, call)
  const { tunnel, token, fingerprint, expiresAt, grantKeys } = made
  const proved = { certificate, authority, key: one.key, identity, ...(grantKeys && { grantKeys }) }
  const replaced = await keep(path, edge, trust, { tunnel, connector, token, ...proved }, call)
  await destroy(resolve(setupToken), call)
  if (replaced)
    call.log.info('the certificate before stays good: postern tunnel evict ends it', { connector: replaced.connector })
  return { edge: edge.origin, tunnel, connector: one.id, fingerprint, expiresAt, credentials: path }
}

/** What a setup token's file holds can sign for this daemon, in front of its clients, for as long as its certificate lasts. */
async function destroy(file: string, { log }: Call): Promise<void> {
  try {
    await unlink(file)
    log.info('the setup token is used up, and its file was removed: remove what copies of it there are', { file })
  } catch (cause) {
    const next = 'Remove it, and every copy: the key in it can pass for this daemon in front of clients.'
    log.warn('the setup token is used up, and its file cannot be removed', { file, cause: String(cause), next })
  }
}

/** All that the daemon needs, in one file. @returns what it takes the place of: perhaps of another login, meanwhile */
async function keep(
  path: string,
  { origin }: URL,
  { ca: [pem] }: Trust,
  what: Omit<Credentials, 'version' | 'edge' | 'ca'>,
  call: Call,
): Promise<Credentials | undefined> {
  const next: Credentials = { version: 1, edge: origin, ...(pem !== undefined && { ca: pem }), ...what }
  return changeCredentials(path, async () => {
    const now = await credentialsAt(path, call)
    mustReplace(now, next, path)
    await writeJson(path, next)
    return now
  })
}

async function credentialsAt(path: string, call: Call): Promise<Credentials | undefined> {
  try {
    return readCredentials(await readSecretFile(path, '--credentials', call.signal), path)
  } catch (error) {
    if (PosternError.is(error) && (error.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT')
      return undefined
    throw error
  }
}

/** The same machine's certificate may take the place of its last one; another tunnel's is not lost by mistake. */
function mustReplace(before: Credentials | undefined, now: Pick<Credentials, 'edge' | 'tunnel'>, path: string): void {
  if (before === undefined || (before.edge === now.edge && before.tunnel === now.tunnel)) return
  throw new PosternError(
    'ALREADY_EXISTS',
    `${path} holds credentials for the tunnel ${before.tunnel} at ${before.edge}`,
    {
      next: 'Name another file with --credentials, or move that one away.',
    },
  )
}

/** A tunnel's name of a machine's: its first label, in the letters that a tunnel's name may have. */
export function tunnelOf(host: string): string {
  const [label = ''] = host.toLowerCase().split('.')
  return (
    label
      .replace(/[^a-z0-9-]+/g, '-')
      .replace(/^-+/, '')
      .slice(0, 63) || 'home'
  )
}
