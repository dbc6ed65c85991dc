import { join, resolve } from 'node:path'
import { type Call, PosternError } from '@postern/interface'
import {
  flagsOf,
  type Given,
  type HostOptionSpecs,
  parseCommandLine,
  renderHelp,
  resolvePending,
} from '@postern/options'
import { type Program, userFolder } from '@postern/program'
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
  const valuesOf = (option: string) =>
    line.given.flatMap(one => (one.option === option && one.value !== undefined ? [one.value] : []))
  const [hostname] = valuesOf('hostname')
  if (hostname === undefined) throw new PosternError('OPTION_MISSING', '--hostname HOST')
  const registry = createRegistry(builtins)
  for (const plugin of valuesOf('plugin'))
    await registry.add(plugin, { from: program.cwd, pluginFolder: join(userFolder(program.env), 'plugins') })
  const chosen = choosePlugins(
    'ssh',
    { auth: valuesOf('auth'), transport: valuesOf('transport')[0] ?? ACCESS_FLAGS.transport.default },
    line,
    registry,
  )
  const wanted = [chosen.transport, ...chosen.auth]
  const specs: HostOptionSpecs[] = []
  for (const { kind, name } of wanted) specs.push((await registry.load(kind, name, 'client', call)).options)
  const claimants = wanted.map(({ kind, name }, at) => ({ kind, name, specs: specs[at] ?? {} }))
  const { given } = resolvePending(line, claimants, {
    own: ACCESS_FLAGS,
    ownersOf: option => registry.ownersOf(option),
    sides: ['client'],
  })
  const args = [
    ...line.given.filter(one => !NOT_CARRIED.has(one.option)).flatMap(one => carried(one, ACCESS_FLAGS, program.cwd)),
    ...given.flatMap((list, at) => list.flatMap(one => carried(one, specs[at] ?? {}, program.cwd))),
  ]
  program.print(sshConfig({ hostname, program: ['postern'], args }))
}

/** A flag as ssh will repeat it: paths made absolute, since ssh runs anywhere. A secret is not written to ssh_config. */
function carried({ flag, form, option, value }: Given, specs: HostOptionSpecs, cwd: string): string[] {
  const type = flagsOf(specs).get(flag.replace(/^-+/, ''))?.spec.type
  if (type === 'secret' && form === 'value') {
    throw new PosternError('BAD_USAGE', `${flag} would stand in ssh_config, where others may read it`, {
      next: `Use ${flag}-file FILE.`,
    })
  }
  const isPath = form === 'file' || type === 'path' || (option === 'plugin' && value?.startsWith('.'))
  return value === undefined ? [flag] : [flag, isPath ? resolve(cwd, value) : value]
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
