import { execFile } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Call } from '@postern/interface'
import type { Program } from '@postern/program'
import { certificateRequest, elsewhere } from '@postern/testkit'
import { expect, it } from 'vitest'
import { administer } from '../src/admin/administer.ts'
import { json, startAdminWorld } from './admin-world.ts'

const execute = promisify(execFile)

/** Every command, in rows: their examples can be typed one after the other, and rows side by side. */
const FIRST = ['admin login', 'admin whoami', 'admin status']
const SIDE_BY_SIDE = [
  [
    ...['create', 'setup-token', 'sign', 'rotate', 'list', 'token', 'info', 'revoke'].map(name => `tunnel ${name}`),
    ...['create', 'list', 'info', 'update'].map(name => `admin app ${name}`),
    ...['create', 'list', 'info', 'rotate'].map(name => `admin service-token ${name}`),
    ...['allow', 'remove', 'deny', 'show', 'set'].map(name => `admin policy ${name}`),
    'admin service-token revoke',
  ],
  [
    ...['create', 'allow', 'disallow', 'update', 'list', 'show', 'import', 'crl', 'delete'].map(
      name => `admin ca ${name}`,
    ),
    ...['issue', 'list', 'revoke'].map(name => `admin certificate ${name}`),
    'admin ca rotate',
    'admin ca retire',
  ],
  [
    ...['invite', 'list', 'info', 'update', 'reset'].map(name => `admin user ${name}`),
    'admin session list',
    'admin session revoke',
    'admin user delete',
  ],
  [
    ...['set', 'list', 'info', 'delete'].map(name => `admin group ${name}`),
    ...['set', 'list', 'remove'].map(name => `admin provider ${name}`),
  ],
  [
    ...['list', 'rotate', 'remove'].map(name => `admin key ${name}`),
    ...['create', 'list', 'revoke'].map(name => `admin token ${name}`),
    'admin openapi',
  ],
]
const LAST = [
  'admin export',
  'admin apply',
  'admin settings',
  'admin audit',
  'admin app delete',
  'tunnel delete',
  'tunnel evict',
  'admin logout',
]

/** What `postern … --help` prints. */
async function helpOf(command: string): Promise<string> {
  let help = ''
  const program = { print: (text: string) => (help += text) } as unknown as Program
  await administer([...command.split(' '), '--help'], program, {} as Call)
  return help
}

it('the example in the help of every command works as it is typed', { timeout: 120_000 }, async () => {
  await using world = await startAdminWorld()
  const bin = join(world.folder, 'bin')
  mkdirSync(bin)
  symlinkSync(join(import.meta.dirname, '../bin/postern.js'), join(bin, 'postern'))
  const cwd = join(world.folder, 'here')
  mkdirSync(cwd, { mode: 0o700 })
  const env = {
    PATH: `${bin}:${process.env.PATH}`,
    POSTERN_HOME: join(world.folder, 'me'),
    POSTERN_CA: world.ca,
  }
  const shell = async (line: string) => (await execute('sh', ['-ec', line], { cwd, env, timeout: 30_000 })).stdout
  // What the examples take for granted, and ids that they cannot know.
  await world.local(['admin', 'app', 'delete', 'db.localhost'])
  expect((await world.local(['tunnel', 'delete', 'home'])).code).toBe(0)
  await world.local(['tunnel', 'create', 'office'])
  writeFileSync(join(cwd, 'staff.yaml'), '- emailDomain: example.com\n', { mode: 0o600 })
  writeFileSync(join(cwd, 'client-secret'), 'a secret\n', { mode: 0o600 })
  const theirs = await elsewhere('Devices')
  writeFileSync(join(cwd, 'devices-ca.pem'), theirs.cert)
  writeFileSync(join(cwd, 'devices.crl'), theirs.revocationList(['0a1b']))
  writeFileSync(join(cwd, 'printer.csr'), (await certificateRequest('printer')).csr)
  const idOf = async (...args: string[]) => JSON.stringify(json(await world.local([...args, '--json'])))
  const found: string[] = []
  const type = async (command: string) => {
    const help = await helpOf(command)
    let line = help.slice(help.indexOf('Examples:') + 9).trim()
    expect(line, command).toMatch(new RegExp(`^postern ${command}\\b`))
    found.push(command)
    line = line.replace('https://edge.example.com', world.url).replace('--follow', '')
    line = line.replace('./setup-token', world.setupTokenFile)
    if (command === 'tunnel revoke')
      line = line.replace(
        '0123456789abcdef',
        /"tokens":\[\{"id":"(\w+)/.exec(await idOf('tunnel', 'info', 'home'))?.[1] ?? '',
      )
    if (command === 'admin token revoke')
      line = line.replace(
        /pat_\w+/,
        /"(pat_\w+)","name":"monitoring/.exec(await idOf('admin', 'token', 'list'))?.[1] ?? '',
      )
    if (command === 'admin key remove')
      line = line.replace('0123456789abcdef', /"id":"([\w-]+)/.exec(await idOf('admin', 'key', 'list'))?.[1] ?? '')
    if (command === 'admin ca retire')
      line = line.replace(
        '0123456789abcdef',
        /"fingerprint":"(\w+)/.exec(await idOf('admin', 'ca', 'show', 'team'))?.[1] ?? '',
      )
    if (command === 'tunnel evict' || command === 'tunnel sign') {
      await expect(shell(line)).rejects.toMatchObject({ stderr: expect.stringContaining('NOT_FOUND') }) // no daemon here
      return
    }
    await shell(line).catch((error: { stderr: string }) => expect.fail(`${line}: ${error.stderr}`))
  }
  const inTurn = async (row: readonly string[]) => {
    for (const command of row) await type(command)
  }
  await inTurn(FIRST)
  await Promise.all(SIDE_BY_SIDE.map(inTurn))
  await inTurn(LAST)
  const listed: string[] = []
  const groups = [
    'app',
    'policy',
    'group',
    'user',
    'session',
    'provider',
    'key',
    'ca',
    'certificate',
    'service-token',
    'token',
  ].map(name => `admin ${name}`)
  const pages = ['tunnel', 'admin', ...groups].map(async group => ({
    group,
    help: await shell(`postern ${group} --help`),
  }))
  for (const { group, help } of await Promise.all(pages)) {
    const names = /Commands:\n((?: {2}.*\n)+)/.exec(help)?.[1]?.match(/^ {2}[a-z-]+/gm) ?? []
    listed.push(...names.map(name => `${group} ${name.trim()}`))
  }
  expect(listed.filter(one => !groups.includes(one)).sort()).toEqual(found.sort())
})
