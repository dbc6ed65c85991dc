import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { portOf } from '../src/listening.ts'
import { rdpText, text, writeRdpFile } from '../src/rdp-file.ts'

const PLACE = { host: '127.0.0.1', port: 33_890 }
let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rdp-file-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

test('it says where to connect, one setting a line, and who you are it does not', () => {
  const lines = rdpText(PLACE).split('\r\n')
  expect(lines.pop()).toBe('')
  expect(lines[0]).toBe('full address:s:127.0.0.1:33890')
  for (const line of lines) expect(line).toMatch(/^[a-z ]+:(?:s:[\x20-\x7e]*|i:\d+)$/)
  expect(rdpText(PLACE)).not.toMatch(/user|password|51:b/i)
})

describe('row 81: an .rdp file', () => {
  test.each([
    ['a second line', 'a\r\nalternate shell:s:calc.exe'],
    ['a bare line feed', 'a\nb'],
    ['a bare carriage return', 'a\rb'],
    ['a byte of nothing', 'a\0b'],
    ['a line end of Unicode', 'a\u2028b'],
    ['letters that are not ASCII', 'bücher'],
    ['a book', 'x'.repeat(257)],
  ])('never has a value with %s', (_name, value) => {
    expect(() => text('full address', value)).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }))
  })

  test('has any other: the allow twin', () =>
    expect(text('full address', '[::1]:3389')).toBe('full address:s:[::1]:3389'))

  test.each([
    '-oProxyCommand=calc',
    '$(id)',
    '`id`',
    'a;b',
    'a b',
    'a\r\nb',
    '../../etc/cron.d/x',
    '/etc/passwd',
    'a\\b',
    '..',
    '.',
    '',
    'a..b',
    'a%h',
    'K.example.com',
    'x'.repeat(64),
    `${'x.'.repeat(127)}xx`,
  ])('is not named after %j', hostname => {
    expect(() => writeRdpFile(hostname, PLACE)).toThrow(expect.objectContaining({ code: 'HOSTNAME_INVALID' }))
    expect(() => writeRdpFile(hostname, PLACE, join(folder, 'x.rdp'))).toThrow(
      expect.objectContaining({
        code: 'HOSTNAME_INVALID',
      }),
    )
    expect(readdirSync(folder)).toEqual([])
  })

  test('is named after a hostname: the allow twin', () => {
    using file = writeRdpFile('desk-1.example.com', PLACE)
    expect(file.path).toMatch(/postern-rdp-\w+.desk-1\.example\.com\.rdp$/)
  })
})

test('ours is for this user alone, and gone at the end', () => {
  const file = writeRdpFile('desk.example.com', PLACE)
  expect(readFileSync(file.path, 'utf8')).toBe(rdpText(PLACE))
  if (process.platform !== 'win32') expect(statSync(file.path).mode & 0o777).toBe(0o600)
  file[Symbol.dispose]()
  expect(() => statSync(file.path)).toThrow('ENOENT')
  expect(() => statSync(join(file.path, '..'))).toThrow('ENOENT')
})

test('one that was asked for stays, replaces what was there, and does not follow a link', () => {
  const [wanted, other] = [join(folder, 'desk.rdp'), join(folder, 'other')]
  writeFileSync(other, 'precious')
  symlinkSync(other, wanted)
  const file = writeRdpFile('desk.example.com', PLACE, wanted)
  file[Symbol.dispose]()
  expect(readFileSync(wanted, 'utf8')).toBe(rdpText(PLACE))
  expect(statSync(wanted).mode & 0o777).toBe(0o600)
  expect(readFileSync(other, 'utf8')).toBe('precious')
  expect(readdirSync(folder).sort()).toEqual(['desk.rdp', 'other'])
})

test.each([['id_rsa'], ['.rdp'], ['desk.rdp.txt']])('nothing is written over %s', name => {
  writeFileSync(join(folder, name), 'precious')
  expect(() => writeRdpFile('desk.example.com', PLACE, join(folder, name))).toThrow(
    expect.objectContaining({
      code: 'OPTION_INVALID',
    }),
  )
  expect(readFileSync(join(folder, name), 'utf8')).toBe('precious')
})

test('a folder that is not there is said, and nothing is left', () => {
  const wanted = join(folder, 'none', 'desk.rdp')
  expect(() => writeRdpFile('desk.example.com', PLACE, wanted)).toThrow(
    expect.objectContaining({ code: 'FILE_UNREADABLE' }),
  )
  expect(readdirSync(folder)).toEqual([])
})

describe('the local port', () => {
  const at = (address: string) => ({ listener: { address, connections: () => (async function* () {})() } })
  test.each([
    ['127.0.0.1:5000', '127.0.0.1', 5000],
    ['[::1]:5000', '[::1]', 5000],
    ['0.0.0.0:5000', '127.0.0.1', 5000],
    ['[::]:5000', '[::1]', 5000],
    ['192.168.1.5:5000', '192.168.1.5', 5000],
  ])('%s is reached at %s, port %i', (address, host, port) => {
    expect(portOf(at(address), 'rdp')).toMatchObject({ host, port })
  })
  test.each([['/run/user/1000/desk.sock'], ['']])('%j is none', address => {
    expect(() => portOf(at(address), 'rdp')).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }))
  })
  test('stdin and stdout are none', () => {
    expect(() => portOf({}, 'rdp')).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }))
  })
})
