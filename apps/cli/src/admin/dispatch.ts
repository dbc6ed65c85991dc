import type { Call } from '@postern/interface'
import { findCommand, parseCommandLine, renderHelp, resolvePending } from '@postern/options'
import { PROGRAM_FLAGS, type Program } from '@postern/program'
import type { AdminCommand } from './command.ts'

const HELP = { help: PROGRAM_FLAGS.help }

/** Runs the command that the first words name, or shows what there is. @param argv with the first word */
export async function dispatch(
  tree: AdminCommand,
  argv: readonly string[],
  program: Program,
  call: Call,
): Promise<void> {
  const { command, path, rest } = findCommand<AdminCommand>(argv, tree)
  const names = ['postern', ...path]
  if (command.run) return command.run(rest, names, program, call)
  resolvePending(parseCommandLine(rest, HELP), [], { own: HELP }) // whatever else was meant, it was not this page
  program.print(
    renderHelp({
      usage: `${names.join(' ')} COMMAND [options]`,
      summary: `${command.summary}.`,
      commands: command.commands ?? {},
      sections: [{ title: 'Options', specs: HELP }],
    }),
  )
}
