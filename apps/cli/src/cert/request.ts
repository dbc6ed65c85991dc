import { resolve } from 'node:path'
import type { Call } from '@postern/interface'
import { readOptions } from '@postern/options'
import { jsonLineOf, type Program, printable } from '@postern/program'
import { about } from '../about.ts'
import { CREDENTIAL_FLAGS, credentialHelp, oneApplication, openCredentials, startCommand } from '../credential.ts'
import { type Enrolled, enrol, namesOf } from './enrol.ts'
import { createFiles, mustBeNew, type Places } from './files.ts'

const FLAGS = {
  ...CREDENTIAL_FLAGS,
  authority: { type: 'string', summary: 'the CA, by its name (default: the one that the application’s rules name)' },
  out: { type: 'path', summary: 'the new file, mode 0600, for certificate and key (default: HOSTNAME.pem, here)' },
  outKey: { type: 'path', summary: 'a new file of its own for the key' },
  expiresIn: { type: 'duration', summary: 'how long it is to last (default, and at most: what the CA gives)' },
} as const
const COMMAND = { specs: FLAGS, implied: true }
const HELP = {
  usage: 'postern cert request APPLICATION [--out FILE] [options]',
  summary:
    'Get a client certificate for a key that is made here and never sent, signing in where that is needed. No file that is there is touched.',
  specs: FLAGS,
  examples: [
    'postern cert request app.example.com --out me.pem',
    'postern cert request app.example.com --out ci.pem --id ID --secret-file ./ci-secret',
  ],
}

/** `postern cert request`: a certificate for who signs in, or for a service token. */
export async function request(argv: readonly string[], program: Program, outer: Call): Promise<void> {
  const { run, word, isHelp } = await startCommand(argv, FLAGS, program, outer.signal)
  if (isHelp) return program.print(await credentialHelp(HELP, outer))
  const call: Call = { log: run.log, signal: AbortSignal.any([outer.signal, program.stop.gently]) }
  const { app, authority, out, outKey, expiresIn } = (await readOptions(FLAGS, run.sources, call.signal)).values
  const application = oneApplication(word, app)
  const cert = out ?? resolve(program.cwd, `${application.replace(':', '_')}.pem`)
  const places: Places = { cert, key: outKey ?? cert }
  await mustBeNew(places)
  await using credentials = await openCredentials(application, COMMAND, run, call)
  credentials.setInteractive(true)
  const seconds = expiresIn === undefined ? undefined : Math.ceil(expiresIn / 1000)
  const enrolled = await enrol(credentials, { authority, seconds }, call).catch(error => {
    throw about(application, error)
  })
  await createFiles(places, enrolled)
  program.print(told(application, places, enrolled, program))
}

function told(application: string, places: Places, enrolled: Enrolled, { json }: Program): string {
  const { ca, serial, notAfter, renewUntil } = enrolled
  const renews = renewUntil === undefined ? {} : { renewUntil }
  if (json) return jsonLineOf({ application, ca, serial, notAfter, ...renews, ...places })
  const { cert, key } = places
  const lines = [
    `${cert}${cert === key ? ' has certificate and key' : `, with its key in ${key}`}`,
    `of the CA ${ca}: ${namesOf(enrolled)}`,
    `good until ${notAfter}${renewUntil === undefined ? '' : `; renews itself until ${renewUntil}:`}`,
    ...(renewUntil === undefined
      ? []
      : [`  postern cert renew ${application} --cert ${cert}${cert === key ? '' : ` --key ${key}`}`]),
  ]
  return lines.map(line => `${printable(line)}\n`).join('')
}
