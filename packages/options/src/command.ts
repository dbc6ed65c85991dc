import { PosternError } from '@postern/interface'
import { nearest } from './nearest.ts'

/** One node of a program's command tree. A program adds to it what it wants to find there again (specs, what to run). */
export interface Command<C = unknown> {
  readonly summary: string
  /** Other names of this command. */
  readonly aliases?: readonly string[]
  readonly commands?: Readonly<Record<string, C>>
  /** A sentence behind the list of children, for a word that is none of them. */
  readonly otherwise?: string
}

export interface FoundCommand<C> {
  readonly command: C
  /** The names that led there, as the tree has them: `['access', 'tcp']`. */
  readonly path: readonly string[]
  /** Everything behind the last of them. */
  readonly rest: readonly string[]
}

/**
 * Walks the words in front of the first flag down the tree. It stops at a command that has no children, so what follows
 * that one is its own words.
 *
 * @throws PosternError BAD_USAGE for a word that no child is called, naming the nearest
 */
export function findCommand<C extends Command<C>>(argv: readonly string[], root: C): FoundCommand<C> {
  const path: string[] = []
  let command = root
  let at = 0
  while (command.commands && argv[at] !== undefined && !argv[at]!.startsWith('-')) {
    const name = childCalled(argv[at]!, command.commands)
    if (name === undefined) throw unknownCommand(argv[at]!, path, command.commands, command.otherwise)
    command = command.commands[name]!
    path.push(name)
    at++
  }
  return { command, path, rest: argv.slice(at) }
}

function childCalled<C extends Command<C>>(word: string, commands: Readonly<Record<string, C>>): string | undefined {
  if (Object.hasOwn(commands, word)) return word
  return Object.keys(commands).find(name => commands[name]!.aliases?.includes(word))
}

function unknownCommand<C extends Command<C>>(
  word: string,
  path: readonly string[],
  commands: Readonly<Record<string, C>>,
  otherwise = '',
) {
  const names = Object.entries(commands).flatMap(([name, { aliases }]) => [name, ...(aliases ?? [])])
  const meant = nearest(word, names)
  const told = JSON.stringify(word.slice(0, 64))
  const where = path.length > 0 ? ` of "${path.join(' ')}"` : ''
  return new PosternError('BAD_USAGE', `${told} is no command${where}`, {
    next: [
      meant ? `Did you mean "${[...path, meant].join(' ')}"?` : `There are: ${Object.keys(commands).join(', ')}.`,
      otherwise,
    ]
      .join(' ')
      .trim(),
  })
}
