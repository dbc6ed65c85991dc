import type { Call } from '@postern/interface'
import { findCommand, parseCommandLine, renderHelp, resolvePending } from '@postern/options'
import { PROGRAM_FLAGS, type Program, runProgram, VERSION_FLAG } from '@postern/program'
import { type CliCommand, COMMANDS, protocolOf } from './commands.ts'

const HELP = { help: PROGRAM_FLAGS.help }

/** Settles when the program is over. Its caller waits for it: a program that hangs without anything to wait for then ends with 13, not 0. */
export const over: Promise<void> = runProgram('postern', main, new URL('../package.json', import.meta.url))

async function main(program: Program, call: Call): Promise<void> {
  const { argv } = program
  const protocol = protocolOf(argv, program.env)
  if (protocol !== undefined) return (await import('./access.ts')).access(protocol, argv.slice(2), program, call)
  const { command, path, rest } = findCommand<CliCommand>(argv, COMMANDS)
  if (!command.run) return help(program, command, path)
  await command.run(rest, program, call)
}

/** A command that only has children shows them. @throws PosternError OPTION_UNKNOWN: what was meant was not help */
function help(program: Program, command: CliCommand, path: readonly string[]): void {
  const flags = path.length === 0 ? { ...HELP, ...VERSION_FLAG } : HELP
  resolvePending(parseCommandLine(program.argv.slice(path.length), flags), [], { own: flags })
  program.print(
    renderHelp({
      usage: `${['postern', ...path].join(' ')} COMMAND [options]`,
      summary: command.summary,
      commands: command.commands ?? {},
      sections: [{ title: 'Options', specs: flags }],
      examples: command.examples ?? [],
    }),
  )
}
