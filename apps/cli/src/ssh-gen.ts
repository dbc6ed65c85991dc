import { readHostname } from '@postern/client/hostname'
import { type Call, type Json, PosternError } from '@postern/interface'
import { type HostOptionSpecs, parseCommandLine, readOptions } from '@postern/options'
import { fileSecrets, jsonLineOf, type Program } from '@postern/program'
import { about } from './about.ts'
import { credentialHelp, openCredentials } from './credential.ts'
import { APPLICATION_FLAGS, PLACE_FLAGS, RUN_FLAGS } from './flags.ts'
import { postJson } from './post-json.ts'
import { type Run, secretsOf, startRun } from './run.ts'
import { type SshFiles, sshFiles } from './ssh-files.ts'
import { freshCertificate, keepCertificate, makeOwnKey, type OwnKey, readOwnKey } from './ssh-kept.ts'

const { auth, edge, ca } = APPLICATION_FLAGS
const FLAGS = { hostname: PLACE_FLAGS.hostname, auth, edge, ca, ...RUN_FLAGS } as const satisfies HostOptionSpecs
const PATH = '/.postern/ssh-certificate'
/** Flags that say nothing of who asks. */
const NEUTRAL: ReadonlySet<string> = new Set(['hostname', 'json', 'logLevel', 'help'])
const HELP = {
  usage: 'postern access ssh-gen --hostname HOST [options]',
  summary: 'Get a short-lived SSH certificate, signing in where that is needed. Prints where the key is.',
  specs: FLAGS,
  examples: [
    'postern access ssh-gen --hostname ssh.example.com',
    'postern access ssh-config --hostname ssh.example.com --short-lived-cert --write   # ssh calls it by itself then',
  ],
}

/** `postern access ssh-gen`: a key of this user, and a certificate for it; both stay until a third of its time is left. */
export async function sshGen(argv: readonly string[], program: Program, outer: Call): Promise<void> {
  const line = parseCommandLine(argv, FLAGS)
  if (line.given.some(one => one.option === 'help')) return program.print(await credentialHelp(HELP, outer))
  // ssh waits for it with stdin closed, or a person does: a secret on stdin is possible.
  const run = await startRun(line, program, secretsOf(true), outer.signal)
  const call: Call = { log: run.log, signal: AbortSignal.any([outer.signal, program.stop.gently]) }
  const { hostname, port } = readHostname((await readOptions(FLAGS, run.sources, call.signal)).values.hostname)
  const application = port === undefined ? hostname : `${hostname}:${port}`
  const files = sshFiles(application, program.env)
  const way = wayOf(application, run)
  const key = await readOwnKey(files)
  const kept = key && (await freshCertificate(files, key, way, Date.now()))
  const facts = kept ?? (await renew(application, files, way, run, call))
  call.log.debug('an SSH certificate', {
    principals: facts.principals.join(' '),
    serial: String(facts.serial),
    new: !kept,
  })
  if (!program.json) return program.print(`${files.key}\n`)
  const { principals, validBefore } = facts
  const until = new Date(validBefore * 1000).toISOString()
  program.print(jsonLineOf({ key: files.key, certificate: files.certificate, principals, validBefore: until }))
}

/** One at a time for one application: who waited finds what the other got. */
async function renew(application: string, files: SshFiles, way: string, run: Run, call: Call) {
  const work = async () => {
    const key = (await readOwnKey(files)) ?? (await makeOwnKey(files))
    const kept = await freshCertificate(files, key, way, Date.now())
    return kept ?? keepCertificate(files, key, way, await askFor(key, application, run, call))
  }
  return fileSecrets(files.folder).exclusively(files.name, work, call)
}

async function askFor({ publicKey }: OwnKey, application: string, run: Run, call: Call): Promise<string> {
  await using credentials = await openCredentials(application, { specs: FLAGS, implied: true }, run, call)
  credentials.setInteractive(true)
  try {
    return certificateIn(await postJson(credentials, PATH, { publicKey }, call))
  } catch (error) {
    throw about(application, error)
  }
}

function certificateIn(answer: Json): string {
  const found = Object.entries(answer ?? {}).find(([name]) => name === 'certificate')?.[1]
  if (typeof found === 'string') return found
  throw new PosternError('EDGE_PROTOCOL', 'the edge answered without a certificate')
}

/** Everything that decides who asks: the words, the variables and the config file. */
function wayOf(application: string, { line, program, config, registry }: Run): string {
  const words = line.given.filter(one => !NEUTRAL.has(one.option)).map(({ option, value }) => [option, value ?? null])
  const variables = Object.entries(program.env).filter(([name]) => /^(POSTERN|TUNNEL_SERVICE)_/.test(name))
  return JSON.stringify([words, line.pending, variables.sort(), config?.section(application, registry).values ?? null])
}
