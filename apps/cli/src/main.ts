import { readFile } from 'node:fs/promises'
import type { Call } from '@postern/interface'
import { findCommand, parseCommandLine, renderHelp } from '@postern/options'
import { PROGRAM_FLAGS, type Program, runProgram } from '@postern/program'
import { type CliCommand, COMMANDS, protocolOf } from './commands.ts'

await runProgram('postern', main)

async function main(program: Program, call: Call): Promise<void> {
  const { argv } = program
  if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-V')) return program.print(`${await version()}\n`)
  const protocol = protocolOf(argv)
  if (protocol !== undefined) return (await import('./access.ts')).access(protocol, argv.slice(2), program, call)
  const { command, path, rest } = findCommand<CliCommand>(argv, COMMANDS)
  if (!command.run) return help(program, command, path)
  await command.run(rest, program, call)
}

/** A command that only has children shows them. */
function help(program: Program, command: CliCommand, path: readonly string[]): void {
  parseCommandLine(program.argv.slice(path.length), PROGRAM_FLAGS)
  program.print(
    renderHelp({
      usage: `${['postern', ...path].join(' ')} COMMAND [options]`,
      summary: command.summary,
      commands: command.commands ?? {},
      sections: [],
      examples: command.examples ?? [],
    }),
  )
}

async function version(): Promise<string> {
  const manifest: { version: string } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'))
  return manifest.version
}
