import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { hintOf } from '../src/smb/client.ts'
import { openFirst, systemClients } from '../src/system-client.ts'

const FILE = '/tmp/a b/$(id).rdp'
let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rdp-client-'))
})
afterEach(() => rmSync(folder, { recursive: true }))
const signal = AbortSignal.timeout(15_000)

describe('the system’s client', () => {
  const names = (platform: NodeJS.Platform, env: NodeJS.ProcessEnv) =>
    systemClients(FILE, env, platform).map(({ program, args }) => [program, ...args])
  test('of each system is started with the file as one argument', () => {
    const [windows = []] = names('win32', { SystemRoot: 'C:\\Windows' })
    expect(windows[0]).toMatch(/^C:\\Windows.System32.mstsc\.exe$/)
    expect(windows[1]).toBe(FILE)
    expect(names('darwin', {})).toEqual([['/usr/bin/open', FILE]])
    expect(names('linux', { DISPLAY: ':0' })).toEqual([
      ['xfreerdp3', FILE],
      ['xfreerdp', FILE],
      ['remmina', '-c', FILE],
    ])
    expect(names('linux', { WAYLAND_DISPLAY: 'wayland-0' })).toHaveLength(3)
  })
  test('is none where there is no screen', () => expect(names('linux', {})).toEqual([]))
})

/** A program that writes down how it was started. */
function recorder(name: string): string {
  const program = join(folder, name)
  writeFileSync(program, `#!/bin/sh\nprintf '%s\\n' "$@" > '${folder}/args'\nenv > '${folder}/env'\n`)
  chmodSync(program, 0o755)
  return program
}

test('row 81: the first that is there is started without a shell, and our credentials stay here', async () => {
  const program = recorder('xfreerdp')
  const env = {
    PATH: process.env.PATH,
    DISPLAY: ':9',
    POSTERN_SERVICE_TOKEN_SECRET: 'hunter2',
    TUNNEL_SERVICE_TOKEN_SECRET: 'hunter3',
  }
  const clients = [join(folder, 'none'), program].map(one => ({ program: one, args: [FILE, '; id'], stays: true }))
  const opened = await openFirst(clients, env, signal)
  expect(opened?.client.program).toBe(program)
  if (opened) await once(opened.child, 'exit')
  expect(readFileSync(join(folder, 'args'), 'utf8')).toBe(`${FILE}\n; id\n`)
  const seen = readFileSync(join(folder, 'env'), 'utf8')
  expect(seen).toContain('DISPLAY=:9')
  expect(seen).not.toMatch(/hunter/)
})

test('where there is none, that is said', async () => {
  expect(await openFirst([{ program: join(folder, 'none'), args: [], stays: true }], {}, signal)).toBeUndefined()
  expect(await openFirst([], {}, signal)).toBeUndefined()
})

describe('how shares are reached', () => {
  const at = { host: '127.0.0.1', port: 4450 }
  test.each<[NodeJS.Platform, string]>([
    ['win32', 'net use Z: \\\\127.0.0.1\\SHARE /TCPPORT:4450'],
    ['darwin', 'smb://127.0.0.1:4450/SHARE'],
    ['linux', 'smbclient -p 4450 //127.0.0.1/SHARE'],
  ])('on %s', (platform, hint) => expect(hintOf(at, platform)).toContain(hint))
  test('at the port of old, Windows needs nothing more', () => {
    expect(hintOf({ ...at, port: 445 }, 'win32')).toBe('Its shares are at \\\\127.0.0.1\\SHARE')
  })
})
