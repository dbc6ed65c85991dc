import type { Call } from '@postern/interface'
import type { Command } from '@postern/options'
import type { Program } from '@postern/program'

/** A command of `posternd`. What it runs is imported when it is run. */
export interface DaemonCommand extends Command<DaemonCommand> {
  readonly examples?: readonly string[]
  /** `self` is the command, for its help. */
  run?(argv: readonly string[], program: Program, call: Call, self: DaemonCommand): Promise<void>
}

/** Without a command, `posternd --hostname H --url U` serves one application. */
export const COMMANDS: DaemonCommand = {
  summary: 'Serve private services through the edge. Dials out only; reaches its ingress services and nothing else.',
  run: async (argv, program, call, self) => (await import('./run-commands.ts')).runRule(argv, program, call, self),
  commands: {},
}
