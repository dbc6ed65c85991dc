import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, expectTypeOf, onTestFinished, test } from 'vitest'
import { createRedactor, createSecretReader, type HostOptionSpecs, readOptions } from '../src/index.ts'
import { flag, never, rejected, sources, stdin } from './sources.ts'

const all = {
  name: { type: 'string', summary: 'a name', default: 'nobody' },
  token: { type: 'secret', summary: 'a token', env: ['OLD_TOKEN'] },
  caFile: { type: 'path', summary: 'a CA' },
  edge: { type: 'url', summary: 'the edge' },
  port: { type: 'number', summary: 'a port' },
  quiet: { type: 'boolean', summary: 'say less', default: false },
  grace: { type: 'duration', summary: 'how long', default: '30s' },
  plugin: { type: 'string', summary: 'a plugin', multiple: true },
} as const satisfies HostOptionSpecs

const read = (replaced: Parameters<typeof sources>[0] = {}) => readOptions(all, sources(replaced), never)
const config = (values: Record<string, unknown>, more: object = {}) => ({
  file: { path: '/etc/postern/postern.json', values, ...more },
})

describe('values', () => {
  test('have the types of their specs', async () => {
    const { values } = await read()
    expectTypeOf(values.name).toEqualTypeOf<string>()
    expectTypeOf(values.token).toEqualTypeOf<string | undefined>()
    expectTypeOf(values.edge).toEqualTypeOf<URL | undefined>()
    expectTypeOf(values.grace).toEqualTypeOf<number>()
    expectTypeOf(values.plugin).toEqualTypeOf<readonly string[]>()
    expect(values).toEqual({
      name: 'nobody',
      token: undefined,
      caFile: undefined,
      edge: undefined,
      port: undefined,
      quiet: false,
      grace: 30_000,
      plugin: [],
    })
  })

  test('come from the environment, by the declared names first', async () => {
    const env = {
      OLD_TOKEN: 'tttt-old',
      P_TOKEN: 'tttt-new',
      P_CA_FILE: 'ca.pem',
      P_EDGE: 'https://e',
      P_PORT: '22',
      P_QUIET: '1',
      P_GRACE: '2h',
      P_PLUGIN: 'a, b',
      P_NAME: '',
    }
    const { values, provided } = await read({ env, envPrefix: 'P' })
    expect(values).toEqual({
      name: 'nobody',
      token: 'tttt-old',
      caFile: '/home/me/ca.pem',
      edge: new URL('https://e'),
      port: 22,
      quiet: true,
      grace: 7_200_000,
      plugin: ['a', 'b'],
    })
    expect(provided).toEqual({
      token: 'env',
      caFile: 'env',
      edge: 'env',
      port: 'env',
      quiet: 'env',
      grace: 'env',
      plugin: 'env',
    })
    expect((await read({ env: { P_PORT: '22' } })).values.port).toBeUndefined()
  })

  test('a flag beats the environment, which beats the file, which beats the default', async () => {
    const given = [flag('name', 'from flag')]
    const env = { P_NAME: 'from env' }
    const file = config({ name: 'from file' })
    const name = async (replaced: object) => (await read({ envPrefix: 'P', ...replaced })).values.name
    expect(await name({ given, env, ...file })).toBe('from flag')
    expect(await name({ env, ...file })).toBe('from env')
    expect(await name(file)).toBe('from file')
    expect(await name({})).toBe('nobody')
  })

  test('paths in a config file are relative to its folder', async () => {
    expect((await read(config({ caFile: './ca.pem' }))).values.caFile).toBe('/etc/postern/ca.pem')
    expect((await read({ given: [flag('caFile', '../ca.pem')] })).values.caFile).toBe('/home/ca.pem')
  })

  test('~/ is this user’s folder in a config file; on a command line it is the shell’s', async () => {
    expect((await read(config({ caFile: '~/ca.pem' }))).values.caFile).toBe(join(homedir(), 'ca.pem'))
    expect((await read({ given: [flag('caFile', '~/ca.pem')] })).values.caFile).toMatch(/.\/~\/ca\.pem$/)
  })

  test('a key of a config file is named as its reader says, or by path and section', async () => {
    const file = { path: '/etc/postern.yaml', values: { port: 'x' } }
    expect((await rejected(read({ file: { ...file, at: 'db' } }))).message).toContain(
      '/etc/postern.yaml: db.port is "x"',
    )
    const label = (key: string) => `/etc/postern.yaml:3:5: ${key}`
    expect((await rejected(read({ file: { ...file, label } }))).message).toContain('/etc/postern.yaml:3:5: port is "x"')
  })

  test.each([
    ['port', 'x'],
    ['port', ''],
    ['port', 'Infinity'],
    ['port', '0x10'],
    ['port', ' 1'],
    ['quiet', 'yes'],
    ['quiet', 'constructor'],
    ['grace', '30'],
    ['grace', '1x'],
    ['edge', 'localhost:8443'],
    ['edge', 'nothing'],
    ['name', ''],
    ['name', 'a\nb'],
    ['caFile', ''],
    ['caFile', 'a\0b'],
  ])('%s cannot be %j', async (option, value) => {
    expect(await rejected(read({ given: [flag(option, value)] }))).toMatchObject({
      code: 'OPTION_INVALID',
      message: expect.stringContaining(`--${option} is `),
    })
  })

  test('a config file must use JSON’s own types', async () => {
    expect((await read(config({ port: 22, quiet: true, plugin: ['a'] }))).values).toMatchObject({
      port: 22,
      quiet: true,
      plugin: ['a'],
    })
    for (const values of [
      { port: '22' },
      { quiet: 'true' },
      { name: 1 },
      { name: null },
      { plugin: [1] },
      { name: ['a'] },
      { grace: 30 },
    ]) {
      expect(await rejected(read(config(values)))).toMatchObject({
        code: 'OPTION_INVALID',
        message: expect.stringContaining('/etc/postern/postern.json: '),
      })
    }
  })

  test('an unknown key of the file names the nearest; keys of others are let be', async () => {
    expect(await rejected(read(config({ grcae: '1s' }, { at: 'edge' })))).toMatchObject({
      code: 'OPTION_UNKNOWN',
      message: '/etc/postern/postern.json: edge.grcae is not an option',
      next: 'Did you mean grace?',
    })
    expect((await read(config({ ingress: [] }, { otherKeys: ['ingress'] }))).values.name).toBe('nobody')
    expect(await rejected(read(config(JSON.parse('{"__proto__": 1}'))))).toMatchObject({ code: 'OPTION_UNKNOWN' })
  })

  test('the same option twice is a conflict; a repeatable one is a list', async () => {
    expect(await rejected(read({ given: [flag('name', 'a'), flag('name', 'a')] }))).toMatchObject({
      code: 'OPTION_CONFLICT',
      message: '--name was given 2 times',
    })
    expect((await read({ given: [flag('plugin', 'a'), flag('plugin', 'b')] })).values.plugin).toEqual(['a', 'b'])
  })

  test('everything that is missing is said at once, with every way to give it', async () => {
    const specs = {
      id: { type: 'string', summary: 'the id', required: true },
      secret: { type: 'secret', summary: 'the secret', required: true, env: ['S'] },
    } as const
    const error = await rejected(
      readOptions(specs, sources({ envPrefix: 'P', owner: '--auth x', ...config({}) }), never),
    )
    expect(error).toMatchObject({
      code: 'OPTION_MISSING',
      message:
        '--id is missing (--auth x: the id); give --id, or P_ID, or /etc/postern/postern.json: id; ' +
        '--secret is missing (--auth x: the secret); give --secret-file FILE, or --secret VALUE, or S[_FILE], or P_SECRET[_FILE], or /etc/postern/postern.json: secret',
    })
    const { values } = await readOptions(specs, sources({ given: [flag('id', 'i'), flag('secret', 'ssss')] }), never)
    expect(values).toEqual({ id: 'i', secret: 'ssss' })
  })
})

test('a misspelt flag is told from one that is missing', async () => {
  const specs = { hostname: { type: 'string', summary: 'the application', required: true } } as const
  const read = (pending: { name: string }[]) => rejected(readOptions(specs, sources({ pending }), never))
  expect(await read([{ name: 'id' }, { name: 'hostnme' }])).toMatchObject({
    code: 'OPTION_UNKNOWN',
    message: '--hostnme is not an option of this command',
    next: 'Did you mean --hostname?',
  })
  expect(await read([{ name: 'id' }])).toMatchObject({ code: 'OPTION_MISSING' })
})

describe('secrets', () => {
  const folder = async () => {
    const made = await mkdtemp(join(tmpdir(), 'postern-options-'))
    onTestFinished(() => rm(made, { recursive: true }))
    return made
  }

  test('on the command line are taken with a warning that says what to do instead', async () => {
    const { values, warnings } = await read({ given: [flag('token', 'hunter22')], envPrefix: 'P' })
    expect(values.token).toBe('hunter22')
    expect(warnings).toEqual([
      '--token on the command line can be read by every user of this machine; use --token-file FILE or OLD_TOKEN',
    ])
    expect((await read({ env: { OLD_TOKEN: 'hunter22' } })).warnings).toEqual([])
  })

  test('come from a file, by flag and by key, and are told to the redactor', async () => {
    const made = await folder()
    await writeFile(join(made, 'token'), 'hunter22\n', { mode: 0o600 })
    const redactor = createRedactor()
    const { values, warnings, provided } = await read({ given: [flag('token', 'token', 'file')], cwd: made, redactor })
    expect([values.token, warnings, provided]).toEqual(['hunter22', [], { token: 'flag' }])
    expect(redactor.scrub('is hunter22')).toBe('is [redacted]')
    const path = join(made, 'postern.json')
    expect((await read({ file: { path, values: { tokenFile: './token' } } })).values.token).toBe('hunter22')
  })

  test('come from the file that a variable names, read as safely as the one of a flag', async () => {
    const made = await folder()
    const path = join(made, 'token')
    await writeFile(path, 'hunter22\n', { mode: 0o600 })
    const redactor = createRedactor()
    const { values, provided } = await read({ env: { OLD_TOKEN_FILE: path, OLD_TOKEN: '' }, redactor })
    expect([values.token, provided]).toEqual(['hunter22', { token: 'env' }])
    expect(redactor.scrub('is hunter22')).toBe('is [redacted]')
    expect((await read({ env: { P_TOKEN_FILE: 'token' }, envPrefix: 'P', cwd: made })).values.token).toBe('hunter22')
    expect((await read({ env: { P_NAME_FILE: path }, envPrefix: 'P' })).values.name).toBe('nobody') // no secret
    await chmod(path, 0o644)
    expect(await rejected(read({ env: { OLD_TOKEN_FILE: path } }))).toMatchObject({
      code: 'FILE_UNSAFE',
      message: expect.stringContaining('OLD_TOKEN_FILE: '),
    })
  })

  test('in a variable and in the file that its twin names are a conflict', async () => {
    const env = { OLD_TOKEN: 'hunter22', OLD_TOKEN_FILE: '/run/secrets/token' }
    expect(await rejected(read({ env }))).toMatchObject({
      code: 'OPTION_CONFLICT',
      message: 'OLD_TOKEN and OLD_TOKEN_FILE say the same thing',
    })
  })

  test('given twice over are a conflict', async () => {
    const given = [flag('token', 'hunter22'), flag('token', 'token', 'file')]
    const error = await rejected(read({ given }))
    expect(error).toMatchObject({ code: 'OPTION_CONFLICT', message: '--token and --token-file say the same thing' })
    expect(await rejected(read(config({ token: 'x', tokenFile: 'y' })))).toMatchObject({ code: 'OPTION_CONFLICT' })
  })

  test('come from stdin, where it is free: for one flag, however often it is asked for', async () => {
    const given = [flag('token', '-', 'file')]
    const secrets = createSecretReader(stdin('hunt', 'er22\n'))
    expect((await read({ given, secrets })).values.token).toBe('hunter22')
    expect((await read({ given, secrets })).values.token).toBe('hunter22')
    expect(await rejected(read({ given: [{ ...given[0]!, flag: '--p.token-file' }], secrets }))).toMatchObject({
      code: 'OPTION_CONFLICT',
      message: '--token-file and --p.token-file both want stdin',
    })
    expect(await rejected(read({ given, secrets: createSecretReader(undefined) }))).toMatchObject({
      code: 'OPTION_CONFLICT',
      message: expect.stringContaining('carries the connection'),
    })
  })

  test.skipIf(process.platform === 'win32')('in a config file want a file that nobody else can read', async () => {
    const path = join(await folder(), 'postern.json')
    await writeFile(path, '{}')
    const file = { path, values: { token: 'hunter22' } }
    await chmod(path, 0o640)
    expect(await rejected(read({ file }))).toMatchObject({ code: 'FILE_UNSAFE' })
    await chmod(path, 0o600)
    expect((await read({ file })).values.token).toBe('hunter22')
    await chmod(path, 0o644)
    expect((await read({ file: { path, values: { name: 'no secret' } } })).values.name).toBe('no secret')
  })

  test('are in no message', async () => {
    const messages = await Promise.all([
      rejected(read({ given: [flag('token', 'hunter22\0')] })),
      rejected(read({ given: [flag('token', 'hunter22'), flag('token', 'hunter22')] })),
      rejected(read(config({ token: ['hunter22'] }))),
    ])
    expect(JSON.stringify(messages.map(({ message, next }) => [message, next]))).not.toContain('hunter22')
  })

  test('the password of a URL is one as well', async () => {
    const redactor = createRedactor()
    await read({ given: [flag('edge', 'https://u:pa%20ss@e')], redactor })
    expect(redactor.scrub('pa ss pa%20ss')).toBe('[redacted] [redacted]')
  })

  test('an abort while stdin is read rejects with its reason', async () => {
    const abort = new AbortController()
    const { Readable } = await import('node:stream')
    const quiet = new Readable({ read() {} })
    const reading = readOptions(
      all,
      sources({ given: [flag('token', '-', 'file')], secrets: createSecretReader(quiet) }),
      abort.signal,
    )
    setImmediate(() => abort.abort(new Error('enough')))
    await expect(reading).rejects.toThrow('enough')
    expect(quiet.listenerCount('data')).toBe(0)
    const huge = stdin('x'.repeat(70_000))
    expect(
      await rejected(read({ given: [flag('token', '-', 'file')], secrets: createSecretReader(huge) })),
    ).toMatchObject({ code: 'OPTION_INVALID' })
  })
})
