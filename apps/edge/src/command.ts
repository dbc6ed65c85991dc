import { type Call, PosternError } from '@postern/interface'
import {
  type ConfigSection,
  createSecretReader,
  type HostOptionSpecs,
  parseCommandLine,
  type Reading,
  readOptions,
  resolvePending,
} from '@postern/options'
import type { Program } from '@postern/program'

export const DATA = {
  data: { type: 'path', required: true, summary: 'the folder of the edge’s state', env: ['POSTERN_EDGE_DATA'] },
} as const satisfies HostOptionSpecs

/**
 * What a command was told, by flags and environment and a config file.
 *
 * @param more `others`: options of the same command that are read apart
 * @throws PosternError BAD_USAGE, OPTION_*
 */
export async function readSettings<O extends HostOptionSpecs>(
  specs: O,
  argv: readonly string[],
  program: Program,
  call: Call,
  { others, file }: { readonly others?: HostOptionSpecs; readonly file?: ConfigSection } = {},
): Promise<Reading<O>> {
  const own = { ...specs, ...others }
  const line = parseCommandLine(argv, own)
  const { words } = resolvePending(line, [], { own, ownersOf: () => [], sides: ['edge'] })
  if (words.length > 0) throw new PosternError('BAD_USAGE', `nothing is done with ${JSON.stringify(words[0])}`)
  const { env, cwd, redactor } = program
  const sources = {
    given: line.given,
    pending: line.pending,
    env,
    cwd,
    redactor,
    secrets: createSecretReader(undefined),
    ...(file && { file }),
  }
  return readOptions(specs, sources, call.signal)
}
