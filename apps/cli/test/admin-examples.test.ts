import { execFile } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { certificateRequest, elsewhere } from '@postern/testkit'
import { expect, it } from 'vitest'
import { json, startAdminWorld } from './admin-world.ts'

const execute = promisify(execFile)

/** Every command, in an order in which their examples can be typed one after the other. */
const COMMANDS = [
  'admin login',
  'admin whoami',
  'admin status',
  'tunnel create',
  'tunnel setup-token',
  'tunnel sign',
  'tunnel rotate',
  'tunnel list',
  'tunnel token',
  'tunnel info',
  'tunnel revoke',
  'admin app create',
  'admin app list',
  'admin app info',
  'admin app update',
  'admin service-token create',
  'admin service-token list',
  'admin service-token info',
  'admin service-token rotate',
  'admin policy allow',
  'admin policy remove',
  'admin policy deny',
  'admin policy show',
  'admin policy set',
  'admin group set',
  'admin group list',
  'admin group info',
  'admin group delete',
  'admin user invite',
  'admin user list',
  'admin user info',
  'admin user update',
  'admin user reset',
  'admin session list',
  'admin session revoke',
  'admin user delete',
  'admin provider set',
  'admin provider list',
  'admin provider remove',
  'admin key list',
  'admin key rotate',
  'admin key remove',
  'admin ca create',
  'admin ca allow',
  'admin ca disallow',
  'admin ca update',
  'admin ca list',
  'admin ca show',
  'admin ca import',
  'admin ca crl',
  'admin ca delete',
  'admin certificate issue',
  'admin certificate list',
  'admin certificate revoke',
  'admin ca rotate',
  'admin ca retire',
  'admin service-token revoke',
  'admin token create',
  'admin token list',
  'admin token revoke',
  'admin export',
  'admin apply',
  'admin openapi',
  'admin settings',
  'admin audit',
  'admin app delete',
  'tunnel delete',
  'tunnel evict',
  'admin logout',
]

it('the example in the help of every command works, typed in turn', { timeout: 120_000 }, async () => {
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
  for (const command of COMMANDS) {
    const help = await shell(`postern ${command} --help`)
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
      continue
    }
    await shell(line).catch((error: { stderr: string }) => expect.fail(`${line}: ${error.stderr}`))
  }
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
  for (const group of ['tunnel', 'admin', ...groups]) {
    const help = await shell(`postern ${group} --help`)
    const names = /Commands:\n((?: {2}.*\n)+)/.exec(help)?.[1]?.match(/^ {2}[a-z-]+/gm) ?? []
    listed.push(...names.map(name => `${group} ${name.trim()}`))
  }
  expect(listed.filter(one => !groups.includes(one)).sort()).toEqual(found.sort())
})
