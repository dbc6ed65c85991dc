import type { Call } from '@postern/interface'
import { type HostOptionSpecs, parseCommandLine, renderHelp, resolvePending } from '@postern/options'
import { PROGRAM_FLAGS, type Program, VERSION_FLAG } from '@postern/program'
import type { Registry } from '@postern/registry'
import type { DaemonCommand } from './commands.ts'

const HELP = { help: PROGRAM_FLAGS.help }

export interface Page {
  readonly usage: string
  readonly summary: string
  readonly specs: HostOptionSpecs
  readonly commands?: DaemonCommand['commands']
  readonly examples: readonly string[]
}

/** The text of a command that runs a daemon, with the options of how it signs in. */
export async function runHelp({ specs, commands, ...page }: Page, registry: Registry, call: Call): Promise<string> {
  const { options } = await registry.load('auth', 'tunnel-token', 'client', call)
  const sections = [
    // The page that has commands is the program's first.
    { title: 'Options', specs: commands ? { ...specs, ...VERSION_FLAG } : specs },
    { title: '--auth tunnel-token', specs: options },
  ]
  return renderHelp({ ...page, ...(commands && { commands }), sections })
}

/** A command that only has children shows them. @throws PosternError OPTION_UNKNOWN: what was meant was not help */
export function groupHelp(program: Program, command: DaemonCommand, path: readonly string[]): void {
  resolvePending(parseCommandLine(program.argv.slice(path.length), HELP), [], { own: HELP })
  program.print(
    renderHelp({
      usage: `${['posternd', ...path].join(' ')} COMMAND [options]`,
      summary: command.summary,
      commands: command.commands ?? {},
      sections: [{ title: 'Options', specs: HELP }],
      examples: command.examples ?? [],
    }),
  )
}
