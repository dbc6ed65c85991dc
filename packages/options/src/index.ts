export { type Command, type FoundCommand, findCommand } from './command.ts'
export { type CommandLine, type Given, type Pending, parseCommandLine, type Word } from './command-line.ts'
export type { OptionValue } from './convert.ts'
export { formatDuration, parseDuration } from './duration.ts'
export { type HelpPage, type HelpSection, renderHelp } from './help.ts'
export { editDistance, nearest } from './nearest.ts'
export { type Claimant, type Hints, type Resolved, resolvePending } from './pending.ts'
export { type ConfigSection, type Reading, readOptions, type Source, type Sources, variablesOf } from './read.ts'
export { createRedactor, type Redactor } from './redactor.ts'
export { createSecretReader, LARGEST_SECRET, readSecretBytes, readSecretFile, type SecretReader } from './secrets.ts'
export {
  camel,
  checkSpecs,
  dashed,
  type Flag,
  flagsOf,
  type HostOptionSpec,
  type HostOptionSpecs,
  kebab,
  screaming,
  type Values,
} from './spec.ts'
