import { execFileSync } from 'node:child_process'
import { chmodSync, lchownSync, linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { readConfigFile } from '../src/config-file.ts'

let folder: string
let file: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postern-config-'))
  file = join(folder, 'posternd.yaml')
})
afterEach(() => {
  vi.restoreAllMocks()
  rmSync(folder, { recursive: true, force: true })
})

function read(text: string | Buffer): Promise<unknown> {
  writeFileSync(file, text, { mode: 0o600 })
  return readConfigFile(file).then(({ value }) => value)
}

/** What is said, without the file’s path in front. */
async function refusal(text: string | Buffer): Promise<string> {
  const error = await read(text).then(
    value => Promise.reject(new Error(`was read: ${JSON.stringify(value)}`)),
    thrown => thrown,
  )
  expect(error).toMatchObject({ code: 'CONFIG_INVALID' })
  return error.message.replaceAll(file, '')
}

describe('what is read', () => {
  it('is YAML 1.2: no is a text, 0o17 a number, and what an alias names is there twice', async () => {
    const text = 'a: &it { b: no, c: 0o17 }\nd: *it\nlist:\n  - 1\n  - null\n  - "x"\n'
    expect(await read(text)).toEqual({ a: { b: 'no', c: 15 }, d: { b: 'no', c: 15 }, list: [1, null, 'x'] })
  })

  it('is JSON as well, tabs and all', async () => {
    expect(await read('{\n\t"edge": "https:\\/\\/e.example.com",\n\t"ingress": []\n}\n')).toEqual({
      edge: 'https://e.example.com',
      ingress: [],
    })
  })

  it('has a place for each member, for messages', async () => {
    writeFileSync(file, 'edge: x\ningress:\n  - hostname: a\n    service: b\n', { mode: 0o600 })
    const { where } = await readConfigFile(file)
    expect(where(['ingress', 0, 'service'])).toBe(`${file}:4:5`)
    expect(where(['ingress', 0])).toBe(`${file}:3:5`)
    expect(where(['ingress', 0, 'missing'])).toBe(`${file}:3:5`)
    expect(where([])).toBe(`${file}:1:1`)
  })

  it('is nothing for an empty file', async () => {
    expect(await read('# nothing yet\n')).toBeNull()
  })

  it('cannot reach a prototype', async () => {
    const value = (await read('__proto__: { polluted: 1 }\nconstructor: 2\n')) as Record<string, unknown>
    expect(Object.keys(value)).toEqual(['__proto__', 'constructor'])
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
    expect(value.toString).toBeUndefined()
  })
})

// security.md row 121; the allow twins are above.
describe('what is refused says file, line and column', () => {
  it.each([
    ['a key that is there twice', 'a: 1\nb: 2\na: 3\n', ':3:1: the key "a" is there twice'],
    ['a key twice, one of them quoted', '{"a": 1, a: 2}\n', ':1:10: the key "a" is there twice'],
    ['a key that is no text', 'a:\n  5432: x\n', ':2:3: a key is text'],
    ['a tag of JavaScript', 'a: 1\nb: !!js/function "() => 1"\n', ':2:4: tags'],
    ['a tag of one’s own', 'a: !secret x\n', ':1:4: tags'],
    ['a tag that YAML knows', 'a: !!binary aGk=\n', ':1:4: tags'],
    ['a tag by a directive', '%TAG !e! tag:yaml.org,2002:js/\n---\na: !e!function x\n', ':3:4: tags'],
    ['YAML 1.1, where no is false', '%YAML 1.1\n---\na: no\n', ':1:1: only YAML 1.2'],
    ['two documents', 'a: 1\n---\nb: 2\n', ':2:1: a second document'],
    ['an alias of nothing', 'a: *nobody\n', ':1:4: '],
    ['no number', 'a: .nan\n', ':1:4: not a value'],
    ['a tab before a key', 'a:\n\tb: 1\n', ':2:1: Tabs are not allowed'],
  ])('%s', async (_what, text, said) => {
    expect(await refusal(text)).toContain(said)
  })

  it('and does not repeat what may be a secret', async () => {
    expect(await refusal('token: "ptt_secret" ptt_hunter2\n')).not.toMatch(/hunter2|ptt_/)
  })

  it('several mistakes at once', async () => {
    expect(await refusal('a: !x 1\nb: !y 2\n')).toMatch(/:1:4: .*:2:4: /)
  })
})

describe('a file made to be expensive', () => {
  it('an alias bomb', async () => {
    const levels = Array.from({ length: 30 }, (_, n) => `l${n}: &l${n} [${n === 0 ? '1' : `*l${n - 1}, *l${n - 1}`}]`)
    expect(await refusal(`${levels.join('\n')}\n`)).toMatch(/aliases|deeper/)
  })

  it('an alias of what it stands in', async () => {
    expect(await refusal('a: &a\n  b: *a\n')).toMatch(/deeper|called so/)
  })

  it('a hundred aliases are read, one more is not', async () => {
    const list = (count: number) => `a: &a 1\nl: [${Array(count).fill('*a').join(', ')}]\n`
    expect(await read(list(100))).toMatchObject({ a: 1 })
    expect(await refusal(list(101))).toContain('more than 100 aliases')
  })

  it('32 levels are read, one more is not, and fifty thousand brackets are only refused', async () => {
    const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}\n`
    expect(await read(nested(32))).toBeInstanceOf(Array)
    expect(await refusal(nested(34))).toContain('deeper than 32')
    expect(await refusal('['.repeat(50_000))).toMatch(/:1:\d+: /)
    expect(await refusal('- '.repeat(25_000))).toMatch(/:1:\d+: /)
  })

  it('a megabyte is read, one byte more is not', async () => {
    expect(await read(`# ${'x'.repeat(1024 * 1024 - 8)}\na: 1\n`)).toEqual({ a: 1 })
    expect(await refusal(`# ${'x'.repeat(1024 * 1024 - 7)}\na: 1\n`)).toContain('larger than 1 MiB')
  })

  it('very many keys', async () => {
    const text = Array.from({ length: 20_000 }, (_, n) => `k${n}: 1\n`).join('')
    expect(Object.keys((await read(text)) as object)).toHaveLength(20_000)
  })

  // The parser takes seconds and a gigabyte for a megabyte of these, in which a daemon would serve nobody.
  it.each(['[', '{a: ', '- ', '# x\n', 'a: 1\n', '"a" ', '---\n'])('a megabyte of %j is refused unparsed', async sign =>
    expect(await refusal(sign.repeat((1024 * 1024) / sign.length))).toContain('more than 200000 words and signs'),
  )

  it('what is no text', async () => {
    expect(await refusal(Buffer.from([0x61, 0x3a, 0xff, 0xfe]))).toContain('not UTF-8')
  })
})

// security.md rows 118, 119 and 121: who may say what a program does.
describe.skipIf(process.platform === 'win32')('a file that somebody else could change', () => {
  const unsafe = (path: string) => expect(readConfigFile(path)).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
  beforeEach(() => writeFileSync(file, 'a: 1\n', { mode: 0o600 }))

  it.each([0o620, 0o602, 0o666, 0o777])('is refused with mode %o', async mode => {
    chmodSync(file, mode)
    await unsafe(file)
  })

  it.each([0o400, 0o600, 0o640, 0o644, 0o755])('and read with mode %o: it holds no secret', async mode => {
    chmodSync(file, mode)
    expect((await readConfigFile(file)).value).toEqual({ a: 1 })
  })

  it('is refused when another user owns it, and read when root does', async () => {
    if (!process.getuid) throw new Error('no users here')
    const own = process.getuid()
    vi.spyOn(process, 'getuid').mockReturnValue(own + 1)
    if (own === 0) expect((await readConfigFile(file)).value).toEqual({ a: 1 })
    else await unsafe(file)
    if (own !== 0) return
    execFileSync('chown', ['12345', file])
    await unsafe(file)
  })

  it('is refused in a folder where everybody can put another in its place, and read in one like /tmp', async () => {
    const open = join(folder, 'open')
    mkdirSync(open)
    writeFileSync(join(open, 'a.yaml'), 'a: 1\n', { mode: 0o600 })
    chmodSync(open, 0o777)
    await unsafe(join(open, 'a.yaml'))
    chmodSync(open, 0o1777)
    expect((await readConfigFile(join(open, 'a.yaml'))).value).toEqual({ a: 1 })
  })

  it('is refused as a FIFO, a device, a folder; read as the file itself, however many names it has', async () => {
    execFileSync('mkfifo', [join(folder, 'fifo')])
    await unsafe(join(folder, 'fifo'))
    await unsafe('/dev/null')
    await unsafe(folder)
    linkSync(file, join(folder, 'second'))
    expect((await readConfigFile(join(folder, 'second'))).value).toEqual({ a: 1 })
  })

  it('is read through links of our own, as Kubernetes mounts it, and not through those of others or where others can write', async () => {
    mkdirSync(join(folder, 'v1'))
    writeFileSync(join(folder, 'v1', 'a.yaml'), 'a: 1\n', { mode: 0o644 })
    symlinkSync('v1', join(folder, '..data'))
    symlinkSync('..data/a.yaml', join(folder, 'link.yaml'))
    const { path, value } = await readConfigFile(join(folder, 'link.yaml'))
    expect([path, value]).toEqual([join(folder, 'link.yaml'), { a: 1 }]) // messages say what was named
    chmodSync(join(folder, 'v1', 'a.yaml'), 0o666)
    await unsafe(join(folder, 'link.yaml'))
    chmodSync(join(folder, 'v1', 'a.yaml'), 0o644)
    symlinkSync('/dev/null', join(folder, 'null.yaml'))
    await unsafe(join(folder, 'null.yaml'))
    symlinkSync('loop.yaml', join(folder, 'loop.yaml'))
    await unsafe(join(folder, 'loop.yaml'))
    symlinkSync('nowhere', join(folder, 'dangling.yaml'))
    await expect(readConfigFile(join(folder, 'dangling.yaml'))).rejects.toThrow()
    chmodSync(folder, 0o777)
    await unsafe(join(folder, 'link.yaml'))
    chmodSync(folder, 0o700)
  })

  it.skipIf(process.getuid?.() !== 0)('is not read through a link of another user', async () => {
    symlinkSync(file, join(folder, 'theirs.yaml'))
    lchownSync(join(folder, 'theirs.yaml'), 12345, 12345)
    await unsafe(join(folder, 'theirs.yaml'))
    lchownSync(join(folder, 'theirs.yaml'), 0, 0)
    expect((await readConfigFile(join(folder, 'theirs.yaml'))).value).toEqual({ a: 1 })
  })

  it('that is not there is FILE_UNREADABLE', async () => {
    await expect(readConfigFile(join(folder, 'none.yaml'))).rejects.toMatchObject({ code: 'FILE_UNREADABLE' })
  })
})
