import {
  type Account,
  type AuthProvider,
  type Call,
  type Credential,
  PosternError,
  type Purpose,
} from '@postern/interface'
import { readOptions } from '@postern/options'
import { jsonLineOf, type Program, printable } from '@postern/program'
import {
  accountFacts,
  CREDENTIAL_FLAGS,
  type Credentials,
  credentialHelp,
  oneApplication,
  openCredentials,
  showAccount,
  startCommand,
  whose,
} from './credential.ts'
import { forgetSshCertificates } from './ssh-files.ts'

const LOGOUT_FLAGS = {
  ...CREDENTIAL_FLAGS,
  all: {
    type: 'boolean',
    default: false,
    summary: 'every sign-in that this machine keeps under the same --ca, or without one',
  },
} as const
const TOKEN_FLAGS = {
  ...CREDENTIAL_FLAGS,
  login: { type: 'boolean', default: false, summary: 'sign in first where nobody is signed in' },
} as const

const LOGIN_HELP = {
  usage: 'postern access login APPLICATION [options]',
  summary: 'Sign in with your browser, once for all applications of a team.',
  specs: CREDENTIAL_FLAGS,
  examples: ['postern access login https://app.example.com', 'postern access login ssh.example.com --device'],
}
const LOGOUT_HELP = {
  usage: 'postern access logout {APPLICATION | --all} [options]',
  summary: 'Sign out, here and at the edge: what the sign-in let in ends as well.',
  specs: LOGOUT_FLAGS,
  examples: ['postern access logout app.example.com', 'postern access logout --all'],
}
const TOKEN_HELP = {
  usage: 'postern access token APPLICATION [options]',
  summary: 'Print a token for one application, and nothing else. It is good for minutes.',
  specs: TOKEN_FLAGS,
  examples: ['postern access token --app https://app.example.com'],
}
/** `postern access login APPLICATION`: signs in now, so that other commands need not. */
export async function login(argv: readonly string[], program: Program, outer: Call): Promise<void> {
  const { run, word, isHelp } = await startCommand(argv, CREDENTIAL_FLAGS, program, outer.signal)
  if (isHelp) return program.print(await credentialHelp(LOGIN_HELP, outer))
  const call = stoppable(program, { ...outer, log: run.log })
  const { app } = (await readOptions(CREDENTIAL_FLAGS, run.sources, call.signal)).values
  const application = oneApplication(word, app)
  await using credentials = await openCredentials(application, { specs: CREDENTIAL_FLAGS, implied: false }, run, call)
  const before = await current(credentials, call)
  credentials.setInteractive(true)
  const account = accountIn(before ?? (await ask(credentials, call)))
  const already = before !== undefined
  if (program.json) return program.print(jsonLineOf({ application, already, ...(account && accountFacts(account)) }))
  const as = account ? `as ${showAccount(account)}` : 'by what was given: there is nobody to sign in'
  program.print(line(`${already ? 'already signed in' : 'signed in'} to ${application} ${as}`))
  if (already && account)
    program.print(line(`to be somebody else: postern access logout ${application}, then log in again`))
}

/** `postern access logout`: ends a sign-in here and at the edge. */
export async function logout(argv: readonly string[], program: Program, outer: Call): Promise<void> {
  const { run, word, isHelp } = await startCommand(argv, LOGOUT_FLAGS, program, outer.signal)
  if (isHelp) return program.print(await credentialHelp(LOGOUT_HELP, outer))
  const call = stoppable(program, { ...outer, log: run.log })
  const { app, all } = (await readOptions(LOGOUT_FLAGS, run.sources, call.signal)).values
  if (all && word !== undefined) throw new PosternError('OPTION_CONFLICT', `--all and ${word} contradict each other`)
  const application = all ? undefined : oneApplication(word, app)
  await using credentials = await openCredentials(application, { specs: LOGOUT_FLAGS, implied: false }, run, call)
  const ended: Account[] = []
  for (const provider of credentials.providers)
    ended.push(...((await provider.signOut?.(all ? undefined : credentials.purpose, call)) ?? []))
  // Whoever signs in next is somebody else, perhaps.
  await forgetSshCertificates(program.env)
  if (program.json) return program.print(jsonLineOf({ ended: ended.map(accountFacts) }))
  for (const account of ended) program.print(line(`signed out: ${whose(account)}`))
  if (ended.length === 0) program.print('nobody was signed in\n')
}

/** `postern access token APPLICATION`: the token alone, for other programs. Never asks anybody unless told to. */
export async function token(argv: readonly string[], program: Program, outer: Call): Promise<void> {
  const { run, word, isHelp } = await startCommand(argv, TOKEN_FLAGS, program, outer.signal)
  if (isHelp) return program.print(await credentialHelp(TOKEN_HELP, outer))
  const call = stoppable(program, { ...outer, log: run.log })
  const { app, login: mayLogin } = (await readOptions(TOKEN_FLAGS, run.sources, call.signal)).values
  const application = oneApplication(word, app)
  await using credentials = await openCredentials(application, { specs: TOKEN_FLAGS, implied: false }, run, call)
  credentials.setInteractive(mayLogin)
  const [credential, ...others] = await ask(credentials, call)
  const headers = typeof credential?.headers === 'object' ? Object.values(credential.headers) : []
  const [value] = headers
  if (others.length > 0 || headers.length !== 1 || typeof value !== 'string')
    throw new PosternError('BAD_USAGE', 'what this signs in with has no token to print', {
      next: 'Use postern access curl, which sends whatever it has.',
    })
  const expiresAt =
    credential?.expiresAt === undefined ? {} : { expiresAt: new Date(credential.expiresAt).toISOString() }
  program.print(program.json ? jsonLineOf({ application, token: value, ...expiresAt }) : `${value}\n`)
}

async function ask({ providers, purpose }: Credentials, call: Call): Promise<Credential[]> {
  const given: Credential[] = []
  for (const provider of providers) given.push(await provider.authenticate(purpose, call))
  return given
}

/** What is had without asking anybody, and is still good: what this machine keeps may be over at the edge. */
async function current(credentials: Credentials, call: Call): Promise<Credential[] | undefined> {
  try {
    const given = await ask(credentials, call)
    return await Promise.all(given.map((one, at) => renewed(one, credentials.providers[at], credentials.purpose, call)))
  } catch (error) {
    if (PosternError.is(error) && error.code === 'LOGIN_REQUIRED') return undefined
    throw error
  }
}

/** Another one, as if this had been refused. Who has no other, or has just made this one, says AUTH_REJECTED. */
async function renewed(
  credential: Credential,
  provider: AuthProvider | undefined,
  purpose: Purpose,
  call: Call,
): Promise<Credential> {
  try {
    const refused = { status: 401, headers: {}, credential }
    return (await provider?.authenticate({ ...purpose, refused }, call)) ?? credential
  } catch (error) {
    if (PosternError.is(error) && error.code === 'AUTH_REJECTED') return credential
    throw error
  }
}

function accountIn(credentials: readonly Credential[]): Account | undefined {
  return credentials.find(one => one.account)?.account
}

/** Ends at the first Ctrl-C: there is nothing to finish. */
function stoppable({ stop }: Program, call: Call): Call {
  return { ...call, signal: AbortSignal.any([call.signal, stop.gently]) }
}

function line(text: string): string {
  return `${printable(text)}\n`
}
