import { resolve } from 'node:path'
import { readHostname } from '@postern/client/hostname'
import { type Call, PosternError } from '@postern/interface'
import {
  type Given,
  type HostOptionSpecs,
  parseCommandLine,
  readOptions,
  renderHelp,
  resolvePending,
} from '@postern/options'
import type { Program } from '@postern/program'
import { APPLICATION_FLAGS, PLACE_FLAGS, RUN_FLAGS } from './flags.ts'
import { chooseFor, type Run, secretsOf, startRun } from './run.ts'
import { sshConfig } from './ssh-config.ts'
import { sshFiles } from './ssh-files.ts'

/** Flags that say something about this command, not about the connection. */
const COMMAND_FLAGS = {
  hostname: PLACE_FLAGS.hostname,
  write: { type: 'boolean', default: false, summary: 'put it into ~/.ssh/config, or change it there' },
  shortLivedCert: {
    type: 'boolean',
    default: false,
    summary: 'have ssh get a short-lived certificate each time it needs one, for servers that trust this edge',
  },
  dryRun: { type: 'boolean', default: false, summary: 'show what --write would change, as a diff' },
} as const satisfies HostOptionSpecs
const FLAGS = { ...COMMAND_FLAGS, ...APPLICATION_FLAGS, ...RUN_FLAGS } as const satisfies HostOptionSpecs
const NOT_CARRIED: ReadonlySet<string> = new Set([...Object.keys(COMMAND_FLAGS), 'json', 'help'])

/** `postern access ssh-config`: prints or writes the stanza; what else was given is what ssh will call `access ssh` with. */
export async function sshConfigCommand(argv: readonly string[], program: Program, call: Call): Promise<void> {
  const line = parseCommandLine(argv, FLAGS)
  if (line.given.some(one => one.option === 'help')) return program.print(help())
  const run = await startRun(line, program, secretsOf(false), call.signal)
  const { hostname, write, dryRun, shortLivedCert } = (await readOptions(COMMAND_FLAGS, run.sources, call.signal))
    .values
  const carried = await carriedArgs(run, hostname, call)
  const certificate = shortLivedCert && certificateOf(hostname, carried.auth, program)
  const stanza = sshConfig({ hostname, program: ['postern'], args: carried.all, ...(certificate && { certificate }) })
  if (!write && !dryRun) return program.print(stanza)
  const { writeStanza } = await import('./ssh-config-file.ts') // most runs only print
  await writeStanza({ hostname: readHostname(hostname).hostname, stanza, dryRun }, program, { ...call, log: run.log })
}

/** Where `access ssh-gen` will put what ssh is to use. */
function certificateOf(hostname: string, args: readonly string[], { env }: Program) {
  const { key, certificate } = sshFiles(hostname, env)
  return { args, keyFile: key, certificateFile: certificate }
}

/** What `access ssh` is called with, and of that what says who asks. */
async function carriedArgs(run: Run, hostname: string, call: Call): Promise<{ all: string[]; auth: string[] }> {
  const { line, registry } = run
  const { cwd } = run.program
  const { plugins } = await chooseFor(run, hostname, 'ssh', call)
  const wanted = [...plugins.transports, ...plugins.auth]
  const specs: HostOptionSpecs[] = []
  for (const { kind, name } of wanted) specs.push((await registry.load(kind, name, 'client', call)).options)
  const claimants = wanted.map(({ kind, name }, at) => ({ kind, name, specs: specs[at] ?? {} }))
  const { given, words: others } = resolvePending(line, claimants, {
    own: FLAGS,
    ownersOf: option => registry.ownersOf(option),
    sides: ['client'],
  })
  if (others.length > 0) throw new PosternError('BAD_USAGE', `nothing is done with ${JSON.stringify(others[0])}`)
  const own = line.given.filter(one => !NOT_CARRIED.has(one.option))
  const carriedOf = (kind: 'transport' | 'auth') =>
    given.flatMap((list, at) =>
      wanted[at]?.kind === kind ? list.flatMap(one => carried(one, specs[at] ?? {}, cwd)) : [],
    )
  const [ofTransports, ofAuth] = [carriedOf('transport'), carriedOf('auth')]
  const words = (list: readonly Given[]) => list.flatMap(one => carried(one, FLAGS, cwd))
  return {
    all: [...words(own), ...ofTransports, ...ofAuth],
    auth: [...words(own.filter(one => one.option !== 'transport')), ...ofAuth],
  }
}

/** A flag as ssh will repeat it: paths made absolute, since ssh runs anywhere. A secret is not written to ssh_config. */
function carried({ flag, form, option, value }: Given, specs: HostOptionSpecs, cwd: string): string[] {
  const type = specs[option]?.type // by the option, not the flag: a flag may have its plugin's name in front
  if (type === 'secret' && form === 'value') {
    throw new PosternError('BAD_USAGE', `${flag} would stand in ssh_config, where others may read it`, {
      next: `Use ${flag}-file FILE.`,
    })
  }
  if (value === undefined) return [flag]
  if (form === 'file' && value === '-')
    throw new PosternError('BAD_USAGE', `${flag} cannot read stdin: ssh speaks there`, { next: 'Name a file.' })
  const isPath = form === 'file' || type === 'path' || (option === 'plugin' && value.startsWith('.'))
  const word = isPath ? resolve(cwd, value) : value
  return word.startsWith('-') ? [`${flag}=${word}`] : [flag, word]
}

function help(): string {
  return renderHelp({
    usage: 'postern access ssh-config --hostname HOST [--write] [options of access ssh]',
    summary: 'Print the ssh_config stanza for a hostname, or write it into ~/.ssh/config.',
    sections: [{ title: 'Options', specs: FLAGS }],
    examples: [
      'postern access ssh-config --hostname ssh.example.com --id ID --secret-file ~/.postern-token --write',
      'postern access ssh-config --hostname ssh.example.com --id ID --secret-file ~/.postern-token >> my_ssh_config',
      'postern access ssh-config --hostname ssh.example.com --short-lived-cert --write',
    ],
  })
}
