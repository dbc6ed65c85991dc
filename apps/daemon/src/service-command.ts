import { realpath, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { type Call, type Logger, PosternError } from '@postern/interface'
import {
  type CommandLine,
  type ConfigSection,
  createSecretReader,
  dashed,
  formatDuration,
  type HostOptionSpecs,
  kebab,
  parseCommandLine,
  type Reading,
  readOptions,
  renderHelp,
  resolvePending,
} from '@postern/options'
import { type Program, readConfigFile, readLevel } from '@postern/program'
import { createRegistry } from '@postern/registry'
import { builtins } from './builtin.ts'
import type { DaemonCommand } from './commands.ts'
import { checkConnections } from './connections.ts'
import { defaultPorts } from './daemon-file.ts'
import { CONFIG_FLAGS, RULE_FLAGS, RUN_FLAGS } from './flags.ts'
import { readHealthAddress } from './health.ts'
import { readRule } from './ingress.ts'
import { type Credential, renderUnit } from './unit.ts'

const { ca, credentials, gracePeriod, json, help, logLevel, ...RUN } = RUN_FLAGS

/** What becomes words of the unit’s command line. Which of them must be there depends on whether there is a file. */
const PASSED_ON = {
  hostname: optional(RULE_FLAGS.hostname),
  url: optional(RULE_FLAGS.url),
  ...RUN,
  edge: optional(RUN_FLAGS.edge),
  gracePeriod,
  logLevel,
} as const

export const SERVICE_FLAGS = {
  config: optional(CONFIG_FLAGS.config),
  ...PASSED_ON,
  ca,
  credentials: { ...credentials, summary: 'what posternd login left, instead of a token; root’s, mode 0600' },
  tokenFile: {
    type: 'path',
    default: '/etc/postern/tunnel-token',
    summary: 'file with the tunnel’s token; root’s, mode 0600',
  },
  user: { type: 'string', summary: 'an existing user to run as, instead of one that systemd makes' },
  json,
  help,
} as const satisfies HostOptionSpecs

type Values = Reading<typeof SERVICE_FLAGS>['values']

function optional<S extends HostOptionSpecs[string]>({ required, ...spec }: S): Omit<S, 'required'> {
  return spec
}

/** `posternd service print`: a systemd unit, on stdout. */
export async function servicePrint(
  argv: readonly string[],
  program: Program,
  call: Call,
  { summary, examples = [] }: DaemonCommand,
): Promise<void> {
  const line = parseCommandLine(argv, SERVICE_FLAGS)
  if (line.given.some(one => one.option === 'help')) {
    const usage = 'posternd service print (--config FILE | --hostname HOST --url SERVICE --edge URL) [options]'
    const sections = [{ title: 'Options', specs: SERVICE_FLAGS }]
    return program.print(renderHelp({ usage, summary, sections, examples }))
  }
  refuseOthers(line)
  const { values, provided } = await read(line, program, call)
  const log = program.log(readLevel('info'))
  const script = await realpath(process.argv[1] ?? '')
  const unit = renderUnit({
    program: [process.execPath, script],
    words: wordsOf(values, provided, program.cwd),
    credentials: credentialsOf(values),
    ...(values.user !== undefined && { user: values.user }),
    reloads: values.config !== undefined,
    grace: values.gracePeriod,
  })
  for (const path of [process.execPath, script, ...(values.config === undefined ? [] : [values.config])])
    warnOfHidden(path, log)
  if (values.config !== undefined && values.user === undefined) await warnOfPrivate(values.config, log)
  program.print(program.json ? `${JSON.stringify({ unit })}\n` : unit)
}

function refuseOthers(line: CommandLine): void {
  if (line.pending.some(({ name }) => name === 'token' || name === 'tunnel-token'))
    throw new PosternError('BAD_USAGE', 'a unit is read by every user of the machine, so it holds no token', {
      next: 'Put the token into a file of root’s, mode 0600, and name it with --token-file.',
    })
  const { words } = resolvePending(line, [], { own: SERVICE_FLAGS })
  if (words.length > 0) throw new PosternError('BAD_USAGE', `nothing is done with ${JSON.stringify(words[0])}`)
}

async function read(line: CommandLine, program: Program, { signal }: Call): Promise<Reading<typeof SERVICE_FLAGS>> {
  const { env, cwd, redactor } = program
  const sources = { given: line.given, env, cwd, redactor, secrets: createSecretReader(undefined) }
  const reading = await readOptions(SERVICE_FLAGS, sources, signal)
  checkRule(reading.values)
  checkRun(reading.values)
  if (reading.values.config === undefined) return reading
  // Once more, with the file: what it says of the grace period is how long systemd has to wait.
  return readOptions(SERVICE_FLAGS, { ...sources, file: await sectionOf(reading.values.config) }, signal)
}

async function sectionOf(path: string): Promise<ConfigSection> {
  const file = await readConfigFile(path)
  const { value } = file
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new PosternError('CONFIG_INVALID', `${file.where([])}: the file is not a map of options`)
  if (Object.hasOwn(value, 'token'))
    throw new PosternError('OPTION_CONFLICT', `${file.where(['token'])}: the config file holds the token itself`, {
      next: 'Move it to a file of root’s, mode 0600, and write tokenFile: systemd then lends it to the service.',
    })
  return { path, values: value as ConfigSection['values'], otherKeys: Object.keys(value) }
}

function checkRule({ config, hostname, url, edge, credentials }: Values): void {
  if (config !== undefined && (hostname !== undefined || url !== undefined))
    throw new PosternError('OPTION_CONFLICT', '--config has the rules, so --hostname and --url are too many')
  if (edge && (edge.username !== '' || edge.password !== ''))
    throw new PosternError('OPTION_INVALID', '--edge has a user or password in it, and a unit holds no secret')
  const given = { hostname, url, ...(credentials === undefined && { edge }) }
  const missing = Object.entries(given).filter(([, value]) => value === undefined)
  if (config === undefined && missing.length > 0)
    throw new PosternError(
      'OPTION_MISSING',
      `${missing.map(([name]) => dashed(name)).join(', ')} missing, or --config FILE`,
    )
  const known = defaultPorts(createRegistry(builtins))
  const ofPlugin = 1 // whose port is not known here
  if (hostname !== undefined && url !== undefined) readRule(hostname, url, scheme => known(scheme) ?? ofPlugin)
}

/** What would end every start of the unit is said now. */
function checkRun({ connections, metrics, logLevel }: Values): void {
  checkConnections(connections)
  readLevel(logLevel)
  if (metrics !== undefined) readHealthAddress(metrics)
}

/** What was said in flags or variables; what the file says is left to it. */
function wordsOf(values: Values, provided: Reading<typeof SERVICE_FLAGS>['provided'], cwd: string): readonly string[] {
  const words = values.config === undefined ? [] : ['run', '--config', values.config]
  for (const name of Object.keys(PASSED_ON) as (keyof typeof PASSED_ON)[]) {
    const from = provided[name]
    if (from === undefined || from === 'file') continue
    const flag = dashed(kebab(name))
    if (name === 'gracePeriod') words.push(flag, formatDuration(values.gracePeriod))
    else if (name === 'plugin')
      for (const one of values.plugin) words.push(flag, one.startsWith('.') ? resolve(cwd, one) : one)
    else if (name === 'auth') for (const one of values.auth) words.push(flag, one)
    else words.push(flag, String(values[name]))
  }
  return words
}

function credentialsOf({ auth, tokenFile, credentials, ca }: Values): readonly Credential[] {
  const signsIn = auth.length === 0 || auth.includes('tunnel-token')
  const token =
    credentials === undefined
      ? { name: 'tunnel-token', path: tokenFile, variable: 'POSTERN_TUNNEL_TOKEN_FILE' }
      : { name: 'connector.json', path: credentials, variable: 'POSTERN_CREDENTIALS' }
  return [
    ...(signsIn ? [token] : []),
    ...(ca === undefined ? [] : [{ name: 'ca.pem', path: ca, variable: 'POSTERN_CA' }]),
  ]
}

function warnOfHidden(path: string, log: Logger): void {
  if (/^\/(home|root|run\/user|tmp|var\/tmp)\//.test(path))
    log.warn(`${path} is in a folder that the unit hides: put it where the whole machine has it, as in /usr or /etc`)
}

/** The service reads its file as a user of its own, and takes it from that user or root. */
async function warnOfPrivate(path: string, log: Logger): Promise<void> {
  const { mode, uid } = await stat(path)
  if ((mode & 0o004) === 0)
    log.warn(`${path} can be read by its owner only, not by the user that systemd makes: chmod 644 it, or give --user`)
  if (uid !== 0)
    log.warn(`${path} does not belong to root, so the service will refuse it: chown root it, or give --user`)
}
