import { createHash, X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { type AuthProvider, type Call, PosternError } from '@postern/interface'
import { readOptions, renderHelp } from '@postern/options'
import { fileSecrets, jsonLineOf, type Program, printable, readTrust, userFolder } from '@postern/program'
import { about } from '../about.ts'
import { CREDENTIAL_FLAGS, type Credentials, oneApplication, startCommand } from '../credential.ts'
import { edgeAt } from '../way.ts'
import { enrol } from './enrol.ts'
import { type Pair, type Places, readFiles, replaceFiles } from './files.ts'

const { app, edge, ca, config: _config, plugin: _plugin, ...RUN } = withoutAuth()
const FLAGS = {
  app,
  cert: { type: 'path', required: true, summary: 'the file of the certificate; the new one takes its place' },
  key: { type: 'path', summary: 'the file of its key (default: the file of --cert has it too)' },
  authority: { type: 'string', summary: 'the CA, by its name (default: the one that the application’s rules name)' },
  before: {
    type: 'duration',
    summary: 'how long before its end it is renewed; before that, nothing is done (default: a third of its time)',
  },
  edge,
  ca,
  ...RUN,
} as const
const HELP = {
  usage: 'postern cert renew APPLICATION --cert FILE [--key FILE] [options]',
  summary:
    'Renew a client certificate by its own key: the same names, a new key, in the same files. Fit for cron: where it is early, it says so and ends with 0.',
  sections: [{ title: 'Options', specs: FLAGS }],
  examples: [
    'postern cert renew app.example.com --cert ci.pem',
    'postern cert renew app.example.com --cert ci.pem --before 10d',
  ],
}

function withoutAuth() {
  const { auth: _auth, ...flags } = CREDENTIAL_FLAGS
  return flags
}

/** `postern cert renew`: nobody is asked, nothing but the certificate itself is shown. */
export async function renew(argv: readonly string[], program: Program, outer: Call): Promise<void> {
  const { run, word, isHelp } = await startCommand(argv, FLAGS, program, outer.signal)
  if (isHelp) return program.print(renderHelp(HELP))
  const call: Call = { log: run.log, signal: AbortSignal.any([outer.signal, program.stop.gently]) }
  const values = (await readOptions(FLAGS, run.sources, call.signal)).values
  const application = oneApplication(word, values.app)
  const places: Places = { cert: values.cert, key: values.key ?? values.cert }
  const at = edgeAt(application, values.edge, await readTrust(values.ca))
  const work = async () => {
    const pair = await readFiles(places)
    const early = earlyFor(pair, values.before)
    if (early !== undefined) return { renewed: false, notAfter: early }
    const { authority } = values
    const enrolled = await enrol(showing(application, at, pair), { authority, seconds: undefined }, call).catch(
      error => {
        throw about(application, error)
      },
    )
    await replaceFiles(places, enrolled)
    const { serial, notAfter, renewUntil } = enrolled
    return { renewed: true, serial, notAfter, ...(renewUntil !== undefined && { renewUntil }) }
  }
  // One at a time: two that write the same files would leave a key of one and a certificate of the other.
  const name = createHash('sha256').update(places.key).digest('hex').slice(0, 32)
  const done = await fileSecrets(join(userFolder(program.env), 'renewals')).exclusively(name, work, call)
  if (program.json) return program.print(jsonLineOf({ application, ...places, ...done }))
  const { renewed, notAfter } = done
  const what = renewed ? `${places.cert} is renewed: good` : `nothing to do: ${places.cert} is good`
  program.print(`${printable(`${what} until ${notAfter}`)}\n`)
}

/** Until when it is good, where it is too early. @throws PosternError CERTIFICATE_EXPIRED */
function earlyFor({ cert }: Pair, before: number | undefined): string | undefined {
  const { validFromDate, validToDate } = new X509Certificate(cert)
  const [from, until, now] = [validFromDate.getTime(), validToDate.getTime(), Date.now()]
  if (until <= now)
    throw new PosternError('CERTIFICATE_EXPIRED', `the certificate ended at ${validToDate.toISOString()}`, {
      next: 'Request another one: postern cert request.',
    })
  return until - now > (before ?? (until - from) / 3) ? validToDate.toISOString() : undefined
}

/** What shows one certificate, and asks nobody. */
function showing(application: string, at: Credentials['at'], tls: Pair): Credentials {
  const provider: AuthProvider = {
    async authenticate({ refused }) {
      if (refused === undefined) return { tls }
      throw new PosternError('AUTH_REJECTED', 'the edge did not accept the certificate')
    },
  }
  const known = { hostname: at.hostname, id: '', teamDomain: '', protocols: [] }
  return {
    application,
    purpose: { purpose: 'access', app: known },
    providers: [provider],
    at,
    caFile: undefined,
    setInteractive() {},
    async [Symbol.asyncDispose]() {},
  }
}
