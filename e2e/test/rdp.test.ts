import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { DESK_PEERS, type Desk, Screen, startDesk, Visitor } from '../world/desk.ts'
import { temporaryFolder } from '../world/folder.ts'
import { type JoinedWorld, startJoined } from '../world/joined.ts'
import { type Origin, startOrigin } from '../world/origin.ts'
import { Running, scriptOf, start } from '../world/program.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const missing = !DESK_PEERS.every(name => peers.includes(name))
const MODES = ['hop', 'end-to-end'] as const
const HOSTNAME_INVALID = 2
const nonce = () => crypto.randomUUID().slice(0, 8)

const folder = temporaryFolder()
const running = new Set<Running>()
let world: JoinedWorld
let desk: Desk | undefined
let origin: Origin

beforeAll(async () => {
  ;[desk, origin] = await Promise.all([
    missing ? undefined : startDesk(join(folder.path, 'desk')),
    startOrigin(socket => socket.pipe(socket)),
  ])
  const plain = `127.0.0.1:${origin.port}`
  world = await startJoined({
    here: true,
    apps: {
      'plain.localhost': { service: `rdp://${plain}`, mode: 'hop' },
      'files.localhost': { service: `smb://${plain}`, mode: 'hop' },
      ...Object.fromEntries(
        MODES.map(mode => [`${mode}.localhost`, { service: `rdp://127.0.0.1:${desk?.port ?? 1}`, mode }]),
      ),
    },
  })
})
afterAll(async () => {
  await Promise.all([...running].map(one => one.stop('SIGKILL')))
  await world?.[Symbol.asyncDispose]()
  await desk?.[Symbol.asyncDispose]()
  await origin?.[Symbol.asyncDispose]()
  folder[Symbol.dispose]()
})

const argsOf = (protocol: string, hostname: string, more: readonly string[] = []) => [
  ...['access', protocol, '--hostname', `${hostname}:${world.port}`],
  ...world.flags(hostname),
  ...more,
]
function keep(program: Running): Running {
  running.add(program)
  return program
}
function access(protocol: string, hostname: string, ...more: readonly string[]): Running {
  const home = join(folder.path, 'home')
  mkdirSync(home, { recursive: true, mode: 0o700 })
  return keep(start('postern', argsOf(protocol, hostname, more), { env: { POSTERN_HOME: home } }))
}
/** What became of the negotiations, the newest first. */
async function notes(hostname: string): Promise<unknown[]> {
  const { rows } = await world.here.administration.call('audit.list', { query: { action: 'stream.note' } })
  return rows.filter(row => row.hostname === hostname).map(({ detail }) => detail)
}
async function echoed(port: string): Promise<string> {
  const socket = connect(Number(port), '127.0.0.1').setEncoding('utf8')
  socket.end('GET / HTTP/1.1\r\n\r\n')
  let heard = ''
  socket.on('data', chunk => (heard += chunk))
  await once(socket, 'close')
  return heard
}

describe('postern access rdp', () => {
  it('takes any free port, writes an .rdp file for this user alone, and says what to do with both; it is gone at the end', async () => {
    const one = access('rdp', 'plain.localhost')
    const [, file = '', port = ''] = await one.says(
      /open (\S+\.rdp) with your RDP client, or connect it to 127\.0\.0\.1:(\d+)/,
    )
    expect(readFileSync(file, 'utf8')).toContain(`full address:s:127.0.0.1:${port}\r\n`)
    expect(statSync(file).mode & 0o777).toBe(0o600)
    for (let turn = 0; turn < 2; turn += 1) expect(await echoed(port)).toBe('GET / HTTP/1.1\r\n\r\n')
    const facts = { mode: 'hop', said: 'daemon', service: 'rdp', saw: 'rdp.negotiate', facts: { malformed: 'request' } }
    await expect.poll(() => notes('plain.localhost'), { timeout: 15_000 }).toEqual([facts, facts])
    await one.stop()
    expect(existsSync(dirname(file))).toBe(false)
  })

  it.skipIf(!peers.includes('script'))(
    'at a terminal it opens the client that is there, without a shell, and ends it with itself (needs: script)',
    async () => {
      const tools = join(folder.path, 'tools')
      mkdirSync(tools)
      const [client, said] = [join(tools, 'xfreerdp'), join(folder.path, 'said')]
      writeFileSync(client, `#!/bin/sh\nprintf '%s\\n' "$#" "$@" > '${said}'\nexec sleep 600\n`)
      chmodSync(client, 0o755)
      const file = join(folder.path, 'my desk.rdp')
      const words = [process.execPath, scriptOf('postern'), ...argsOf('rdp', 'plain.localhost', ['--rdp-file', file])]
      const env = {
        ...process.env,
        PATH: `${tools}:/usr/bin:/bin`,
        DISPLAY: ':none',
        POSTERN_HOME: join(folder.path, 'home'),
      }
      const typed = words.map(word => `'${word}'`).join(' ')
      const terminal = (more: string) =>
        keep(
          new Running(
            spawn('script', ['-qec', `exec ${typed}${more}`, '/dev/null'], { env, stdio: ['ignore', 'pipe', 'pipe'] }),
            'script',
          ),
        )
      const one = terminal('')
      await one.says(/opened xfreerdp/)
      await expect.poll(() => existsSync(said) && readFileSync(said, 'utf8'), { timeout: 15_000 }).toBe(`1\n${file}\n`)
      await one.stop()
      const other = terminal(' --no-open')
      await other.says(/open .*my desk\.rdp with your RDP client/)
      await other.stop()
    },
  )

  it.each(['-oProxyCommand=calc', '$(id).localhost', 'a\r\nb', '../x', 'a b'])(
    'row 81: %j is no hostname',
    async name => {
      const one = keep(
        start('postern', ['access', 'rdp', `--hostname=${name}`, '--id', 'x', '--secret-file', '/dev/null']),
      )
      expect([await one.exit, one.stdout]).toEqual([HOSTNAME_INVALID, ''])
      expect(one.stderr).toMatch(/not a hostname|not a text without control characters/)
    },
  )

  it('smb: a port of its own, and how this system’s client is brought to it', async () => {
    const one = access('smb', 'files.localhost')
    const [, port = ''] = await one.says(/smbclient -p (\d+) \/\/127\.0\.0\.1\/SHARE/)
    expect(await echoed(port)).toBe('GET / HTTP/1.1\r\n\r\n')
    await one.stop()
  })
})

describe.skipIf(missing)(`row 82: with a real client and a real server (needs: ${DESK_PEERS.join(', ')})`, () => {
  /** What the visitor’s screen has to look like. */
  let wanted: Screen
  let visitor: Visitor
  let display: Desk['display']
  beforeAll(async () => {
    if (!desk) throw new Error('no desk')
    display = desk.display
    wanted = await Screen.start(join(folder.path, 'wanted'), '800x600')
    visitor = new Visitor(await Screen.start(join(folder.path, 'screen'), '800x600'), folder.path)
  })
  afterAll(async () => {
    await visitor?.[Symbol.asyncDispose]()
    await wanted?.[Symbol.asyncDispose]()
  })

  it.each(MODES)(
    '%s: the remote text is there to the pixel; clicks, another size, leaving and coming again',
    async mode => {
      const file = join(folder.path, `${mode}.rdp`)
      const one = access('rdp', `${mode}.localhost`, '--rdp-file', file)
      await one.says(/with your RDP client/)
      visitor.connect(file)
      const text = `${mode} ${nonce()}`
      await wanted.show(text, 60, 80)
      const box = display.show(text, 60, 80)
      await visitor.sees(wanted)
      keepPicture(visitor, `${mode}-1`)
      // The deny twin: another text, of the same length, is another picture.
      await wanted.clear()
      await wanted.show(`${mode} ${nonce()}`, 60, 80)
      await expect(visitor.sees(wanted, 1)).rejects.toThrow(/pixels differ/)
      await wanted.clear()
      await visitor.click(81, 120)
      expect(await box.exit).toBe(0)
      await visitor.sees('nothing')

      await visitor.resize(720, 540)
      await expect.poll(() => display.size(), { timeout: 15_000 }).toBe('720x540')
      const again = `again ${nonce()}`
      await wanted.show(again, 560, 470)
      display.show(again, 560, 470)
      await visitor.sees(wanted)
      keepPicture(visitor, `${mode}-2`)

      await visitor.leave()
      await expect
        .poll(() => visitor.screen.picture.differences(wanted.picture), { timeout: 15_000 })
        .toBeGreaterThan(0)
      visitor.connect(file, ['/size:720x540'])
      await visitor.sees(wanted)
      await visitor.leave()
      const facts = { cookie: 'ada', requested: ['tls'], selected: 'tls' }
      const note = { mode, said: 'daemon', service: 'rdp', saw: 'rdp.negotiate', facts }
      await expect.poll(() => notes(`${mode}.localhost`), { timeout: 15_000 }).toEqual([note, note])
      await Promise.all([wanted.clear(), display.clear()])
      await one.stop()
      expect(existsSync(file)).toBe(true)
    },
  )
})

/** For people to look at. */
function keepPicture(visitor: Visitor, name: string): void {
  const at = process.env.POSTERN_PICTURES
  if (at) visitor.screen.picture.writePng(join(at, `rdp-${name}.png`))
}
