import { lstat } from 'node:fs/promises'
import { type Credentials, credentialsFile, readCredentials } from '@postern/connector/files'
import { type Call, type Code, PosternError } from '@postern/interface'
import { type CommandLine, type ConfigSection, readSecretFile } from '@postern/options'
import { type Program, readTrust } from '@postern/program'

/** What names a token: then nothing is looked for. */
const TOKEN_FLAGS = ['token', 'tunnel-token', 'token-file', 'tunnel-token-file']
const TOKEN_VARIABLES = ['POSTERN_TUNNEL_TOKEN', 'TUNNEL_TOKEN'].flatMap(name => [name, `${name}_FILE`])
const TOKEN_KEYS = ['token', 'tokenFile']

export interface Looking {
  /** Of `--credentials`, wherever that was said. */
  readonly path: string | undefined
  readonly auth: readonly string[]
  readonly line: CommandLine
  /** The config file's keys for plugins. */
  readonly keys: readonly string[]
}

/** Credentials, and the file that they are in. */
export interface FoundCredentials extends Credentials {
  readonly path: string
}

/**
 * What `posternd login` left: where it was named, or in this user's folder, unless a token was named instead.
 *
 * @throws PosternError OPTION_CONFLICT: both; FILE_*, CONFIG_INVALID
 */
export async function findCredentials(
  { path, auth, line, keys }: Looking,
  program: Program,
  call: Call,
): Promise<FoundCredentials | undefined> {
  const { env, redactor } = program
  if (!auth.includes('tunnel-token')) return undefined
  const hasToken =
    line.pending.some(({ name }) => TOKEN_FLAGS.includes(name)) ||
    TOKEN_VARIABLES.some(name => (env[name] ?? '') !== '') ||
    keys.some(key => TOKEN_KEYS.includes(key))
  if (hasToken && path !== undefined)
    throw new PosternError('OPTION_CONFLICT', '--credentials holds a token already, and another one was named', {
      next: 'Leave one of them out.',
    })
  const place = path ?? (hasToken ? undefined : credentialsFile(env))
  if (place === undefined || (path === undefined && !(await isThere(place)))) return undefined
  const text = await readSecretFile(place, '--credentials', call.signal)
  const found = readCredentials(text, place)
  redactor.add(found.token)
  call.log.debug('credentials were found', { file: place, tunnel: found.tunnel, connector: found.connector })
  return { ...found, path: place }
}

/** What they say of the edge, where nothing else does. @param section the config file's, which goes before them */
export function withEdge(credentials: Credentials | undefined, section?: ConfigSection): ConfigSection | undefined {
  if (credentials === undefined) return section
  const { edge } = credentials
  return section ? { ...section, values: { edge, ...section.values } } : { path: '/', values: { edge } }
}

/**
 * What was found without being named is for its own edge: sent to another, whoever is there would have the token.
 *
 * @throws PosternError OPTION_CONFLICT
 */
export function mustBeFor(edge: URL, credentials: Credentials | undefined, named: string | undefined): void {
  if (credentials === undefined || named !== undefined || new URL(credentials.edge).origin === edge.origin) return
  throw new PosternError(
    'OPTION_CONFLICT',
    `what posternd login left is for ${credentials.edge}, and not for ${edge.origin}`,
    {
      next: `Name it with --credentials to use it there all the same, or log in there: posternd login --edge ${edge.origin} --credentials FILE`,
    },
  )
}

/** What the plugin reads as its variables. They stand nowhere but in this process. */
export function variablesOf({ token, certificate, key }: Credentials): Readonly<Record<string, string>> {
  return {
    POSTERN_TUNNEL_TOKEN: token,
    POSTERN_TUNNEL_TOKEN_CONNECTOR_CERTIFICATE: certificate,
    POSTERN_TUNNEL_TOKEN_CONNECTOR_KEY: key,
  }
}

/** Whom to trust as the edge: `--ca` says it, else the credentials do. */
export async function trustOf(ca: string | undefined, credentials: Pick<Credentials, 'ca'> | undefined) {
  return ca === undefined && credentials?.ca !== undefined ? { ca: [credentials.ca] } : readTrust(ca)
}

/** @throws the error itself: with the shorter way to have what is missing, where that is what a login leaves */
export function hintAtLogin(error: unknown): never {
  if (!PosternError.is(error) || error.code !== 'OPTION_MISSING' || !/--(token|edge) is missing/.test(error.message))
    throw error
  throw new PosternError(error.code, error.message, {
    cause: error,
    next: 'posternd login --edge URL leaves both where posternd finds them; or give them as the message says.',
  })
}

/** What the edge says of somebody it does not let in is the same for all: what a daemon does about it is said here. */
export function advisedOf(error: unknown, edge: URL, credentials: Credentials | undefined): unknown {
  if (!PosternError.is(error) || !REFUSALS.includes(error.code)) return error
  const { code, message, speaker = 'edge', requestId } = error
  const login = `posternd login --edge ${edge.origin}${credentials ? ` --tunnel ${credentials.tunnel}` : ''}`
  const next = credentials
    ? `Log this machine in again: ${login}`
    : `Give it a new token; where the tunnel’s daemons have certificates a token alone is not enough: ${login}`
  return new PosternError(code, message, { cause: error, speaker, next, ...(requestId && { requestId }) })
}

const REFUSALS: readonly Code[] = ['AUTH_REJECTED', 'TOKEN_EXPIRED', 'TOKEN_REVOKED']

async function isThere(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined
}
