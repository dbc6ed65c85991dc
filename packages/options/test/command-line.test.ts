import { describe, expect, test } from 'vitest'
import { type Command, findCommand, type HostOptionSpecs, parseCommandLine, resolvePending } from '../src/index.ts'

const own = {
  hostname: { type: 'string', summary: 'the application', required: true },
  listen: { type: 'string', summary: 'local address', aliases: ['url', 'L'] },
  auth: { type: 'string', summary: 'how to sign in', multiple: true },
  json: { type: 'boolean', summary: 'machine-readable', aliases: ['j'] },
  verbose: { type: 'boolean', summary: 'more', aliases: ['v'] },
  retries: { type: 'number', summary: 'how often' },
} satisfies HostOptionSpecs

const mtls = {
  kind: 'auth',
  name: 'mtls',
  specs: {
    cert: { type: 'path', summary: 'certificate' },
    keyFile: { type: 'path', summary: 'its key' },
    strict: { type: 'boolean', summary: 'be strict' },
  },
} as const
const token = {
  kind: 'auth',
  name: 'service-token',
  specs: { id: { type: 'string', summary: 'id' }, secret: { type: 'secret', summary: 'secret' } },
} as const

const parse = (...argv: string[]) => parseCommandLine(argv, own)
const code = (work: () => unknown) => {
  try {
    work()
  } catch (error) {
    const { code, message, next } = error as { code: string; message: string; next: string }
    return { code, message, next }
  }
  throw new Error('did not throw')
}

describe('phase one', () => {
  test('reads its own flags in every spelling', () => {
    const line = parse(
      '--hostname',
      'h',
      '-L',
      '5432:db',
      '--auth=mtls',
      '--auth',
      'sso',
      '-vj',
      '--no-json',
      '--retries',
      '-3',
    )
    expect(line.given.map(({ option, value, form }) => [option, value, form])).toEqual([
      ['hostname', 'h', 'value'],
      ['listen', '5432:db', 'value'],
      ['auth', 'mtls', 'value'],
      ['auth', 'sso', 'value'],
      ['verbose', undefined, 'value'],
      ['json', undefined, 'value'],
      ['json', undefined, 'off'],
      ['retries', '-3', 'value'],
    ])
    expect(parse('-L5432:db').given[0]).toMatchObject({ option: 'listen', value: '5432:db', flag: '-L' })
    expect(parse('-vL=x').given.map(one => one.value)).toEqual([undefined, 'x'])
    expect(parse('--url', 'x').given[0]).toMatchObject({ option: 'listen', flag: '--url' })
  })

  test('keeps what it does not know, with the word that may be its value', () => {
    const line = parse('one', '--cert', 'C', '--hostname', 'h', '--strict', 'two', '--', '--cert', 'x')
    expect(line.pending).toEqual([
      { name: 'cert', at: 1, next: { text: 'C', at: 2 } },
      { name: 'strict', at: 5, next: { text: 'two', at: 6 } },
    ])
    expect(line.words.map(word => word.text)).toEqual(['one', '--cert', 'x'])
  })

  test('a flag without its value is an error, and never swallows the next flag', () => {
    expect(code(() => parse('--hostname', '--json'))).toMatchObject({
      code: 'OPTION_INVALID',
      message: '--hostname needs a value',
    })
    expect(code(() => parse('--hostname'))).toMatchObject({ code: 'OPTION_INVALID' })
    expect(code(() => parse('--no-json=1'))).toMatchObject({ code: 'OPTION_INVALID' })
    expect(parse('--hostname=--json').given[0]).toMatchObject({ value: '--json' })
    expect(parse('--hostname', '-').given[0]).toMatchObject({ value: '-' })
    expect(parse('--hostname=').given[0]).toMatchObject({ value: '' })
  })

  test('names of Object.prototype are no options', () => {
    expect(parse('--constructor', '--__proto__=x').pending.map(one => one.name)).toEqual(['constructor', '__proto__'])
  })
})

describe('phase two', () => {
  const hints = { own, sides: ['client'] as const }

  test('gives each plugin its flags, and a switch leaves the word behind it alone', () => {
    const line = parse('--cert', 'C', '--id=i', '--no-strict', 'word', '--secret-file', '-', 'last')
    const { given, words } = resolvePending(line, [mtls, token], hints)
    expect(given[0]).toEqual([
      { option: 'cert', flag: '--cert', form: 'value', value: 'C' },
      { option: 'strict', flag: '--no-strict', form: 'off' },
    ])
    expect(given[1]).toEqual([
      { option: 'id', flag: '--id', form: 'value', value: 'i' },
      { option: 'secret', flag: '--secret-file', form: 'file', value: '-' },
    ])
    expect(words).toEqual(['word', 'last'])
  })

  test('an unknown flag names the plugin that owns it', () => {
    const ownersOf = (option: string) =>
      option === 'cert' ? [{ kind: 'auth' as const, name: 'mtls', side: 'client' as const }] : []
    expect(code(() => resolvePending(parse('--cert', 'C'), [token], { ...hints, ownersOf }))).toEqual({
      code: 'OPTION_UNKNOWN',
      message: '--cert belongs to --auth mtls, which this command does not use',
      next: 'Add --auth mtls, or leave --cert out.',
    })
    expect(code(() => resolvePending(parse('--cert-file', 'C'), [token], { ...hints, ownersOf })).message).toContain(
      '--auth mtls',
    )
    expect(
      code(() => resolvePending(parse('--cert', 'C'), [token], { ...hints, ownersOf, sides: ['origin'] })).message,
    ).not.toContain('mtls')
  })

  test('an unknown flag names the nearest one, of the program or of a plugin', () => {
    expect(code(() => resolvePending(parse('--hostnmae', 'x'), [], hints))).toMatchObject({
      code: 'OPTION_UNKNOWN',
      next: 'Did you mean --hostname?',
    })
    expect(code(() => resolvePending(parse('--secert-fil', 'x'), [token], hints))).toMatchObject({
      next: 'Did you mean --secret-file?',
    })
    expect(code(() => resolvePending(parse('--zzzzzz'), [token], hints))).toMatchObject({
      next: 'See --help for the options there are.',
    })
  })

  test('an unknown flag’s value is not repeated', () => {
    const told = code(() => resolvePending(parse('--sercet=hunter22', '-k', 'hunter22'), [token], hints))
    expect(JSON.stringify(told)).not.toContain('hunter22')
    expect(told.next).toBe('Did you mean --secret?')
  })

  test('a flag that two plugins own wants a name in front, and takes it', () => {
    const other = { kind: 'auth', name: 'api-key', specs: { secret: { type: 'secret', summary: 'key' } } } as const
    expect(code(() => resolvePending(parse('--secret', 'x'), [token, other], hints))).toEqual({
      code: 'OPTION_CONFLICT',
      message: '--secret belongs to --auth service-token and to --auth api-key',
      next: 'Say whose it is: --service-token.secret or --api-key.secret.',
    })
    const { given } = resolvePending(parse('--api-key.secret', 'x', '--service-token.secret=y'), [token, other], hints)
    expect(given.map(list => list[0]?.value)).toEqual(['y', 'x'])
  })
})

describe('commands', () => {
  interface Node extends Command<Node> {
    readonly run?: string
  }
  const tree: Node = {
    summary: 'postern',
    commands: {
      access: {
        summary: 'reach it',
        aliases: ['forward'],
        commands: { tcp: { summary: 'tcp', run: 'tcp' }, ssh: { summary: 'ssh', run: 'ssh' } },
      },
    },
  }

  test('walks the words in front of the first flag', () => {
    const found = findCommand(['forward', 'tcp', 'x', '--hostname', 'h'], tree)
    expect(found).toEqual({
      path: ['access', 'tcp'],
      command: { summary: 'tcp', run: 'tcp' },
      rest: ['x', '--hostname', 'h'],
    })
    expect(findCommand(['--help'], tree).path).toEqual([])
  })

  test('names the nearest command', () => {
    expect(code(() => findCommand(['access', 'tpc'], tree))).toMatchObject({
      code: 'BAD_USAGE',
      next: 'Did you mean "access tcp"?',
    })
    expect(code(() => findCommand(['access', 'constructor'], tree))).toMatchObject({ next: 'There are: tcp, ssh.' })
  })
})
