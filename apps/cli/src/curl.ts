import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import type { Readable, Writable } from 'node:stream'
import { type Call, type Credential, PosternError } from '@postern/interface'
import { readOptions } from '@postern/options'
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
  const at = argv.findIndex(word => /^https?:\/\//i.test(word))
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
  if (given.some(one => one.tls))
    throw new PosternError('OPTION_CONFLICT', 'access curl sends headers; a client certificate is curl’s own --cert')
  const headers = await headerPairs(given, { method: 'GET', url: new URL(url) }, call)
  process.exitCode = await runCurl({ url, others, headers, credentials })
}

/** Where curl reads what is not for `ps`. Windows has no files for open pipes: there curl’s stdin is taken for it. */
const CONFIG = process.platform === 'win32' ? '-' : '/dev/fd/3'

interface Wanted {
  readonly url: string
  readonly others: readonly string[]
  readonly headers: readonly (readonly [string, string])[]
  readonly credentials: Credentials
}

/** @returns curl's own exit status */
async function runCurl({ url, others, headers, credentials }: Wanted): Promise<number> {
  const verbose = isVerbose(others)
  // -q: what ~/.curlrc says was not looked at. The file is a pipe: a credential stands neither in argv nor in the environment.
  const child = spawn('curl', ['-q', '--config', CONFIG, url, ...others], {
    stdio: [CONFIG === '-' ? 'pipe' : 'inherit', 'inherit', verbose ? 'pipe' : 'inherit', 'pipe'],
  })
  const ended = new Promise<number>((resolve, reject) => {
    child.once('error', cause => reject(noCurl(cause)))
    child.once('close', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])))
  })
  const config = child.stdio[CONFIG === '-' ? 0 : 3] as Writable | null
  config?.on('error', () => {}) // it ended before it read it, and says why
  config?.end(configOf(headers, credentials))
  if (child.stderr) hide(child.stderr, headers)
  return ended
}

/**
 * The one application gets the credential, by https alone. Every other host, port and scheme, of a redirect or of another
 * address on the line, is dialled where nobody listens: the request fails before anything of it is sent.
 */
function configOf(headers: Wanted['headers'], { at, caFile, application = '' }: Credentials): string {
  const port = /:(\d+)$/.exec(application)?.[1] ?? '443'
  const lines = [
    ...headers.map(([name, value]) => `header = ${quoted(`${name}: ${value}`)}`),
    `connect-to = ${quoted(`${at.hostname}:${port}:${addressOf(at.edge)}`)}`,
    'connect-to = "::127.0.0.1:9"',
    'proto = "=https"',
    'proto-redir = "=https"',
    'noproxy = "*"',
  ]
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
