import { type Group, ROUTES } from '@postern/admin'
import { command, group } from './command.ts'
import { readDocument } from './document.ts'
import { safe, table, yamlOf } from './show.ts'

const SELECTORS = ROUTES['group.put'].body.shape.selectors

export const GROUP = group('Make, see and remove groups: selectors that rules share, as inGroup', {
  set: command({
    summary: 'make a group, or replace what is in it; who is not let in any more is cut off',
    words: ['NAME'],
    options: {
      file: { type: 'string', required: true, aliases: ['f'], summary: 'YAML or JSON list of selectors; - is stdin' },
    },
    example: 'postern admin group set staff -f staff.yaml',
    async run({ words, values, program, call, ask }) {
      const { value } = await readDocument(values.file, SELECTORS, program, call)
      return ask('group.put', { params: { name: words.NAME }, body: { selectors: value } })
    },
    show: describe,
  }),
  list: command({
    summary: 'list the groups',
    example: 'postern admin group list',
    run: ({ ask }) => ask('group.list', {}),
    show: groups =>
      table(
        ['NAME', 'SELECTORS', 'NAMED BY'],
        groups.map(one => [one.name, one.selectors.length, usersOf(one).join(', ')]),
      ),
  }),
  info: command({
    summary: 'print what is in a group, as `group set` takes it',
    words: ['NAME'],
    example: 'postern admin group info staff > staff.yaml',
    run: ({ words, ask }) => ask('group.get', { params: { name: words.NAME } }),
    show: describe,
  }),
  delete: command({
    summary: 'remove a group that nothing names',
    words: ['NAME'],
    example: 'postern admin group delete staff',
    async run({ words, ask }) {
      await ask('group.delete', { params: { name: words.NAME } })
      return { name: words.NAME, deleted: true }
    },
    show: ({ name }) => `the group ${safe(name)} is removed\n`,
  }),
})

function usersOf({ applications, groups, administrators }: Group): readonly string[] {
  return [...applications, ...groups, ...(administrators ? ['administrators'] : [])]
}

async function describe(one: Group, { say }: { say(line: string): void }): Promise<string> {
  const users = usersOf(one)
  say(users.length > 0 ? `${one.name} is named by ${users.join(', ')}:` : `${one.name} is named by nothing:`)
  return yamlOf(one.selectors)
}
