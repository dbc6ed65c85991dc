import { resolve } from 'node:path'
import { type Call, PosternError } from '@postern/interface'
import {
  createSecretReader,
  type Given,
  type HostOptionSpecs,
  parseCommandLine,
  readOptions,
  renderHelp,
  resolvePending,
} from '@postern/options'
import { type Program, pluginPlaces } from '@postern/program'
import { createRegistry } from '@postern/registry'
import { builtins } from './builtin.ts'
import { ACCESS_FLAGS, choosePlugins } from './flags.ts'
import { sshConfig } from './ssh-config.ts'

/** Flags that say something about this command, not about the connection. */
const NOT_CARRIED: ReadonlySet<string> = new Set(['hostname', 'url', 'json', 'help'])

/** `postern access ssh-config`: prints the stanza; whatever else was given is what ssh will call `access ssh` with. */
export async function sshConfigCommand(argv: readonly string[], program: Program, call: Call): Promise<void> {
  const line = parseCommandLine(argv, ACCESS_FLAGS)
  if (line.given.some(one => one.option === 'help')) return program.print(help())
  const { env, cwd, redactor } = program
  const sources = {
    given: line.given,
    pending: line.pending,
    env,
    cwd,
    redactor,
    secrets: createSecretReader(undefined),
  }
  const { values } = await readOptions(ACCESS_FLAGS, sources, call.signal)
  const registry = createRegistry(builtins)
  for (const plugin of values.plugin) await registry.add(plugin, pluginPlaces(program))
  const chosen = choosePlugins('ssh', values, line, registry)
  const wanted = [chosen.transport, ...chosen.auth]
  const specs: HostOptionSpecs[] = []
  for (const { kind, name } of wanted) specs.push((await registry.load(kind, name, 'client', call)).options)
  const claimants = wanted.map(({ kind, name }, at) => ({ kind, name, specs: specs[at] ?? {} }))
  const { given, words } = resolvePending(line, claimants, {
    own: ACCESS_FLAGS,
    ownersOf: option => registry.ownersOf(option),
    sides: ['client'],
  })
  if (words.length > 0) throw new PosternError('BAD_USAGE', `nothing is done with ${JSON.stringify(words[0])}`)
  const args = [
    ...line.given.filter(one => !NOT_CARRIED.has(one.option)).flatMap(one => carried(one, ACCESS_FLAGS, cwd)),
    ...given.flatMap((list, at) => list.flatMap(one => carried(one, specs[at] ?? {}, cwd))),
  ]
  program.print(sshConfig({ hostname: values.hostname, program: ['postern'], args }))
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
    usage: 'postern access ssh-config --hostname HOST [options of access ssh]',
    summary: 'Print the ssh_config stanza for a hostname.',
    sections: [{ title: 'Options', specs: ACCESS_FLAGS }],
    examples: [
      'postern access ssh-config --hostname ssh.example.com --id ID --secret-file ~/.postern-token >> ~/.ssh/config',
    ],
  })
}
