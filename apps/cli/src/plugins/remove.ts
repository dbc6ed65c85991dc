import { type Call, PosternError } from '@postern/interface'
import { jsonLineOf, type Program, pluginPlaces } from '@postern/program'
import { onlyWord, type Page, readCommand } from './command.ts'
import { changing, sweep, writeLock } from './folder.ts'

const PAGE: Page = {
  usage: 'postern plugins remove NAME [options]',
  summary: 'Remove a plugin that was added, and what was installed with it.',
  examples: ['postern plugins remove postern-auth-api-key'],
}

/** `postern plugins remove`. */
export async function remove(argv: readonly string[], program: Program, call: Call): Promise<void> {
  const read = await readCommand(PAGE, {}, argv, program, call)
  if (read === undefined) return
  const name = onlyWord(read.words, 'the name of one plugin')
  const { pluginFolder } = pluginPlaces(program)
  const work = async (lock: ReadonlyMap<string, unknown>) => {
    if (!lock.has(name))
      throw new PosternError(
        'PLUGIN_NOT_FOUND',
        `${JSON.stringify(name.slice(0, 200))} was not added to ${pluginFolder}`,
        {
          next: 'See which were: postern plugins list.',
        },
      )
    const rest = new Map([...lock].filter(([one]) => one !== name))
    await writeLock(pluginFolder, rest)
    await sweep(pluginFolder, rest)
  }
  await changing(pluginFolder, work, call)
  program.print(program.json ? jsonLineOf({ removed: name }) : `${name} removed\n`)
}
