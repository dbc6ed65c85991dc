import { readHostname } from '@postern/client/hostname'
import { type Account, type AuthProvider, type Call, PosternError, type Purpose } from '@postern/interface'
import { type HostOptionSpecs, parseCommandLine, renderHelp } from '@postern/options'
import { clientHost, composePlugins, type Program, readTrust } from '@postern/program'
import { createRegistry } from '@postern/registry'
import { builtins } from './builtin.ts'
import { APPLICATION_FLAGS, DEFAULT_AUTH, RUN_FLAGS } from './flags.ts'
import { chooseFor, type Run, secretsOf, startRun } from './run.ts'
import { type At, edgeAt } from './way.ts'

const { auth, edge, ca } = APPLICATION_FLAGS

/** The flags of commands that want a credential and no tunnel. */
export const CREDENTIAL_FLAGS = {
  app: {
    type: 'string',
    aliases: ['hostname', 'T'],
    summary: 'the application, by its hostname or its address in a browser, instead of the first word',
    env: ['POSTERN_HOSTNAME'],
  },
  auth,
  edge,
  ca,
  ...RUN_FLAGS,
} as const satisfies HostOptionSpecs

/** What gives credentials for one application, ready to be asked. Ends when it is disposed. */
export interface Credentials extends AsyncDisposable {
  /** As it was named: with the edge's port where that is not 443. Absent where all are meant. */
  readonly application: string | undefined
  /** What it is asked for. */
  readonly purpose: Purpose
  readonly providers: readonly AuthProvider[]
  readonly at: At
  /** The file of `--ca`, absolute. */
  readonly caFile: string | undefined
  /** Whether a person may be asked, from now on. Nobody is, before. */
  setInteractive(may: boolean): void
}

export interface CredentialCommand {
  readonly specs: HostOptionSpecs
  /** Of what is chosen where nothing was named: what the flags and variables mean, or browser-sso alone. */
  readonly implied: boolean
}

/** Reads a command line and what belongs to it. @param argv whose first word is the application, unless `--app` is */
export async function startCommand(
  argv: readonly string[],
  specs: HostOptionSpecs,
  program: Program,
  signal: AbortSignal,
): Promise<{ readonly run: Run; readonly word: string | undefined; readonly isHelp: boolean }> {
  const [first] = argv
  const word = first === undefined || first.startsWith('-') ? undefined : first
  const line = parseCommandLine(word === undefined ? argv : argv.slice(1), specs)
  const isHelp = line.given.some(one => one.option === 'help')
  return { run: await startRun(line, program, secretsOf(true), signal), word, isHelp }
}

/** @throws PosternError PLUGIN_*, OPTION_*, FILE_*, CONFIG_INVALID, HOSTNAME_INVALID, BAD_USAGE */
export async function openCredentials(
  application: string | undefined,
  { specs, implied }: CredentialCommand,
  run: Run,
  call: Call,
): Promise<Credentials> {
  const { registry, line, program, sources } = run
  const chosen = await chooseFor(run, application, 'tcp', call)
  const names = chosen.values.auth.length > 0 || implied ? chosen.plugins.auth.map(one => one.name) : [DEFAULT_AUTH]
  const wanted = names.map(name => ({ kind: 'auth', side: 'client', name }) as const)
  const at = edgeAt(application ?? 'nowhere.invalid', chosen.values.edge, await readTrust(chosen.values.ca))
  const host = clientHost(program, at)
  const ui = { ...host.ui, interactive: false }
  await using owned = new AsyncDisposableStack()
  const composed = owned.use(
    await composePlugins(
      {
        registry,
        line,
        own: specs,
        wanted,
        sources: { ...sources, ...(chosen.file && { file: chosen.file }) },
        hosts: { client: { ...host, ui } },
      },
      call,
    ),
  )
  for (const warning of composed.warnings) call.log.warn(warning)
  const providers: AuthProvider[] = []
  for (const one of wanted) providers.push(await composed.create(one))
  const parts = owned.move()
  const app = { hostname: at.hostname, id: '', teamDomain: '', protocols: [] }
  return {
    application,
    purpose: { purpose: 'access', app },
    providers,
    at,
    caFile: chosen.values.ca,
    setInteractive: may => {
      ui.interactive = may && host.ui.interactive !== false
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

/**
 * An application as people name it: `app.example.com`, with a port, or its address in a browser.
 *
 * @returns hostname and port
 * @throws PosternError HOSTNAME_INVALID; OPTION_INVALID for an address that is not `https:`
 */
export function readApplication(text: string): string {
  if (!text.includes('://')) return withPort(readHostname(text))
  const url = URL.parse(text)
  if (url?.protocol !== 'https:')
    throw new PosternError('OPTION_INVALID', 'an application’s address begins with https:', {
      next: 'Name it by its hostname, or by its https: address.',
    })
  if (url.username !== '' || url.password !== '')
    throw new PosternError('OPTION_INVALID', 'the address of an application has no user and no password in it')
  return withPort(readHostname(url.host))
}

/** The one application of a command line. @throws PosternError OPTION_MISSING, OPTION_CONFLICT */
export function oneApplication(word: string | undefined, flag: string | undefined): string {
  if (word !== undefined && flag !== undefined && readApplication(word) !== readApplication(flag))
    throw new PosternError('OPTION_CONFLICT', `${word} and --app ${flag} are two applications`)
  const text = word ?? flag
  if (text === undefined)
    throw new PosternError('OPTION_MISSING', 'which application? Name it first, by its hostname or its address')
  return readApplication(text)
}

function withPort({ hostname, port }: ReturnType<typeof readHostname>): string {
  return port === undefined ? hostname : `${hostname}:${port}`
}

/** Help of a command of this kind, with the options of the plugin that signs people in. */
export async function credentialHelp(
  page: {
    readonly usage: string
    readonly summary: string
    readonly specs: HostOptionSpecs
    readonly examples: readonly string[]
  },
  call: Call,
): Promise<string> {
  const { options } = await createRegistry(builtins).load('auth', DEFAULT_AUTH, 'client', call)
  return renderHelp({
    ...page,
    sections: [
      { title: 'Options', specs: page.specs },
      { title: `--auth ${DEFAULT_AUTH}`, specs: options },
    ],
  })
}

/** `ann@example.com at https://team.example.com, until 2026-11-22 18:00` */
export function showAccount(account: Account): string {
  const { expiresAt } = account
  const until = expiresAt === undefined ? '' : `, until ${new Date(expiresAt).toLocaleString('sv-SE').slice(0, 16)}`
  return `${whose(account)}${until}`
}

export function whose({ issuer, subject, name, email }: Account): string {
  return `${email ?? name ?? subject} at ${issuer}`
}

/** As `--json` prints it. */
export function accountFacts({ expiresAt, ...account }: Account): object {
  return { ...account, ...(expiresAt !== undefined && { expiresAt: new Date(expiresAt).toISOString() }) }
}
