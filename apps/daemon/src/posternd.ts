import type { Call } from '@postern/interface'
import { findCommand } from '@postern/options'
import type { Program } from '@postern/program'
import { COMMANDS, type DaemonCommand } from './commands.ts'

/** `posternd [COMMAND] …`: see commands.ts. */
export async function posternd(program: Program, call: Call): Promise<void> {
  const { command, path, rest } = findCommand<DaemonCommand>(program.argv, COMMANDS)
  if (command.run) return command.run(rest, program, call, command)
  const { groupHelp } = await import('./help.ts')
  groupHelp(program, command, path)
}
