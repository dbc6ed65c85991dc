import type { SigningKey } from '@postern/admin'
import { command, group } from './command.ts'
import { relative, safe, table } from './show.ts'

const GRANTS = {
  grants: {
    type: 'boolean',
    default: false,
    summary: 'the keys that end-to-end sessions are granted with; a daemon keeps those of when it logged in',
  },
} as const

export const KEY = group('See, rotate and remove the keys that the team signs with', {
  list: command({
    summary: 'list the keys',
    options: GRANTS,
    example: 'postern admin key list',
    run: ({ ask, values }) => ask(values.grants ? 'grant-key.list' : 'key.list', {}),
    show: listed,
  }),
  rotate: command({
    summary: 'let the next key sign from now on; the one before it verifies for seven days more',
    options: GRANTS,
    example: 'postern admin key rotate',
    run: ({ ask, values }) => ask(values.grants ? 'grant-key.rotate' : 'key.rotate', { body: {} }),
    show: listed,
  }),
  remove: command({
    summary: 'take a key out at once, because somebody else may have it: nothing it signed is good any more',
    words: ['ID'],
    example: 'postern admin key remove 0123456789abcdef',
    async run({ words, ask }) {
      await ask('key.remove', { params: { id: words.ID } })
      return { id: words.ID, removed: true }
    },
    show: ({ id }) => `the key ${safe(id)} is removed\n`,
  }),
})

function listed(keys: readonly SigningKey[]): string {
  return table(
    ['ID', 'ALGORITHM', 'STATE', 'SINCE', 'UNTIL'],
    keys.map(({ id, algorithm, state, since, until }) => [id, algorithm, state, relative(since), relative(until)]),
  )
}
