import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { closeSync, constants as OPEN, openSync, unlinkSync, writeSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { certificateAmong } from '@postern/client/credentials'
import { type Call, type Credential, PosternError } from '@postern/interface'
import { parseCommandLine, readOptions } from '@postern/options'
import type { Program } from '@postern/program'
import {
  CREDENTIAL_FLAGS,
  type Credentials,
  credentialHelp,
  openCredentials,
  readApplication,
  startCommand,
} from './credential.ts'
import { isVerbose, refuseUnsafe } from './curl-arguments.ts'
import { addressOf, headerPairs } from './present.ts'

const { app: _app, ...FLAGS } = CREDENTIAL_FLAGS
const COMMAND = {
  specs: {
    ...FLAGS,
    login: { type: 'boolean', default: false, summary: 'sign in first where nobody is signed in' },
  },
  implied: true,
} as const
const HELP = {
  usage: 'postern access curl [options] URL [options of curl]',
  summary: 'Run curl with a credential for one application, which goes to that application only.',
  specs: COMMAND.specs,
  examples: [
    'postern access curl https://app.example.com/api/things -H "Accept: application/json"',
    'postern access curl --ca ca.pem https://app.example.com/upload -T file',
  ],
}

/** `postern access curl URL …`: what stands in front of the address is ours, what stands behind it is curl's. */
export async function curl(argv: readonly string[], program: Program, outer: Call): Promise<void> {
  const at = addressIn(argv)
  const own = at < 0 ? argv : argv.slice(0, at)
  const { run, word, isHelp } = await startCommand(own, COMMAND.specs, program, outer.signal)
  if (isHelp) return program.print(await credentialHelp(HELP, outer))
  const [url, ...others] = at < 0 ? [] : argv.slice(at)
  if (url === undefined || word !== undefined)
    throw new PosternError('BAD_USAGE', 'which address? Write it whole, in front of what is meant for curl', {
      next: HELP.examples[0] ?? '',
    })
  const application = readApplication(url)
  refuseUnsafe(others)
  const call: Call = { log: run.log, signal: AbortSignal.any([outer.signal, program.stop.gently]) }
  const { login } = (await readOptions(COMMAND.specs, run.sources, call.signal)).values
  await using credentials = await openCredentials(application, COMMAND, run, call)
  credentials.setInteractive(login)
  const given: Credential[] = []
  for (const one of credentials.providers) given.push(await one.authenticate(credentials.purpose, call))
  const tls = certificateAmong(given)
  const headers = await headerPairs(given, { method: 'GET', url: new URL(url) }, call)
  process.exitCode = await runCurl({ url, others, headers, tls, credentials })
}

/** The first address that is not the value of a flag of ours, or -1. */
function addressIn(argv: readonly string[]): number {
  return argv.findIndex((word, at) => /^https?:\/\//i.test(word) && isWhole(argv.slice(0, at)))
}

function isWhole(words: readonly string[]): boolean {
  try {
    parseCommandLine(words, COMMAND.specs)
    return true
  } catch {
    return false // the last of them wants a value
  }
}

interface Wanted {
  readonly url: string
  readonly others: readonly string[]
  readonly headers: readonly (readonly [string, string])[]
  readonly tls: Credential['tls']
  readonly credentials: Credentials
}

/** @returns curl's own exit status */
async function runCurl({ url, others, headers, tls, credentials }: Wanted): Promise<number> {
  const verbose = isVerbose(others)
  const isWindows = process.platform === 'win32'
  if (tls && isWindows)
    throw new PosternError(
      'OPTION_CONFLICT',
      'access curl shows no client certificate on Windows; curl’s own --cert does',
    )
  const config = configOf(headers, tls !== undefined, credentials)
  // Windows has no names for open files: there curl’s stdin is taken for it.
  const files = isWindows ? [] : [config, ...(tls ? [tls.cert, tls.key] : [])].map(nameless)
  // -q: what ~/.curlrc says was not looked at.
  const child = spawn('curl', ['-q', '--config', isWindows ? '-' : '/dev/fd/3', url, ...others], {
    stdio: [isWindows ? 'pipe' : 'inherit', 'inherit', verbose ? 'pipe' : 'inherit', ...files],
  })
  const ended = new Promise<number>((resolve, reject) => {
    child.once('error', cause => reject(noCurl(cause)))
    child.once('close', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])))
  })
  child.stdin?.on('error', () => {}).end(config) // an error: it ended before it read it, and says why
  for (const file of files) closeSync(file)
  if (child.stderr) hide(child.stderr, headers)
  return ended
}

/** An open file of this text that nobody else can open: a credential stands neither in argv, nor in the environment, nor on a disk under a name. */
function nameless(text: string): number {
  const path = join(tmpdir(), `postern-${randomUUID()}`)
  const file = openSync(path, OPEN.O_RDWR | OPEN.O_CREAT | OPEN.O_EXCL | OPEN.O_NOFOLLOW, 0o600)
  unlinkSync(path)
  writeSync(file, text, 0) // at a place: where it is read from next stays the beginning
  return file
}

/**
 * The one application gets the credential, by https alone. Every other host, port and scheme, of a redirect or of another
 * address on the line, is dialled where nobody listens: the request fails before anything of it is sent.
 */
function configOf(
  headers: Wanted['headers'],
  showsCertificate: boolean,
  { at, caFile, application = '' }: Credentials,
): string {
  const port = /:(\d+)$/.exec(application)?.[1] ?? '443'
  const lines = [
    ...headers.map(([name, value]) => `header = ${quoted(`${name}: ${value}`)}`),
    `connect-to = ${quoted(`${at.hostname}:${port}:${addressOf(at.edge)}`)}`,
    'connect-to = "::127.0.0.1:9"',
    'proto = "=https"',
    'proto-redir = "=https"',
    'noproxy = "*"',
  ]
  // It goes where the connection does: to the application alone.
  if (showsCertificate) lines.push('cert = "/dev/fd/4"', 'key = "/dev/fd/5"')
  if (caFile !== undefined) lines.push(`cacert = ${quoted(caFile)}`)
  return `${lines.join('\n')}\n`
}

function quoted(text: string): string {
  return `"${text.replace(/[\\"]/g, '\\$&')}"`
}

/** With -v, curl tells every header that it sends. */
function hide(stderr: Readable, headers: Wanted['headers']): void {
  const secrets = headers.map(([, value]) => value)
  let rest = ''
  stderr.setEncoding('utf8')
  stderr.on('data', (text: string) => {
    const lines = `${rest}${text}`.split(/(?<=[\n\r])/)
    rest = lines.at(-1)?.endsWith('\n') ? '' : (lines.pop() ?? '')
    process.stderr.write(scrub(lines.join('')))
  })
  stderr.on('end', () => process.stderr.write(scrub(rest)))

  function scrub(text: string): string {
    return secrets.reduce((left, secret) => left.replaceAll(secret, '[redacted]'), text)
  }
}

function noCurl(cause: NodeJS.ErrnoException): PosternError {
  if (cause.code !== 'ENOENT') return new PosternError('INTERNAL', `curl cannot be run: ${cause.message}`, { cause })
  return new PosternError('BAD_USAGE', 'curl is not installed here', { cause, next: 'Install curl.' })
}
