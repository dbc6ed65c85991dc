import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { freePort } from '@postern/dev'
import { Running, run } from './program.ts'
import { type Picture, readScreen } from './screen.ts'

/** What the programs of this need (scripts/peers.mjs). */
export const DESK_PEERS = ['xrdp', 'xfreerdp', 'Xtigervnc', 'Xvfb', 'xmessage', 'xdotool', 'xdpyinfo', 'openssl']

const PAPER = '#12c4a6'
const INK = '#3a0b52'

/** Whether no box is on it. */
function isBlank(picture: Picture): boolean {
  return picture.boxOf(Number.parseInt(PAPER.slice(1), 16)) === undefined
}

/** An X server. */
export class Display implements AsyncDisposable {
  readonly #server: Running
  readonly name: string
  readonly #shown = new Set<Running>()

  private constructor(server: Running, name: string) {
    this.#server = server
    this.name = name
  }

  static async start(program: string, args: readonly string[]): Promise<Display> {
    const words = [...args, '-displayfd', '1', '-nolisten', 'tcp']
    const server = new Running(spawn(program, words, { stdio: ['ignore', 'pipe', 'pipe'] }), program)
    const [, number] = await server.says(/^(\d+)\n/)
    return new Display(server, `:${number}`)
  }

  /** A box with this text, and a button to be done with it, which is its exit 0. */
  show(text: string, x: number, y: number): Running {
    const args = ['-bg', PAPER, '-fg', INK, '-geometry', `+${x}+${y}`, '-buttons', 'okay:0', text]
    const shown = this.start('xmessage', args)
    this.#shown.add(shown)
    return shown
  }

  start(program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Running {
    const all = { ...process.env, ...env, DISPLAY: this.name }
    return new Running(spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: all }), program)
  }

  async run(program: string, ...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await run(program, args, { env: { ...process.env, DISPLAY: this.name } })
    if (code !== 0) throw new Error(`${program}: ${stderr}`)
    return stdout
  }

  async size(): Promise<string> {
    return /dimensions: +(\S+)/.exec(await this.run('xdpyinfo'))?.[1] ?? ''
  }

  async clear(): Promise<void> {
    await Promise.all([...this.#shown].map(one => one.stop()))
    this.#shown.clear()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.clear()
    await this.#server.stop()
  }
}

/** An X server whose picture can be looked at. Nothing draws a pointer into it. */
export class Screen implements AsyncDisposable {
  readonly display: Display
  readonly #file: string

  private constructor(display: Display, file: string) {
    this.display = display
    this.#file = file
  }

  static async start(folder: string, size: string): Promise<Screen> {
    mkdirSync(folder, { recursive: true })
    const display = await Display.start('Xvfb', ['-screen', '0', `${size}x24`, '-nocursor', '-fbdir', folder])
    return new Screen(display, join(folder, 'Xvfb_screen0'))
  }

  get picture(): Picture {
    return readScreen(this.#file)
  }

  /** As {@link Display.show}, and waits until it is there. Not beside another. */
  async show(text: string, x: number, y: number): Promise<void> {
    this.display.show(text, x, y)
    await this.#settles(true)
  }

  async clear(): Promise<void> {
    await this.display.clear()
    await this.#settles(false)
  }

  async #settles(isShown: boolean): Promise<void> {
    for (let [last, tries] = [this.picture, 0]; ; tries += 1) {
      await new Promise(resolve => setTimeout(resolve, 50))
      const now = this.picture
      if (isBlank(now) !== isShown && now.differences(last) === 0) return
      if (tries > 300) throw new Error(isShown ? 'nothing is shown' : 'something is still shown')
      last = now
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.display[Symbol.asyncDispose]()
  }
}

/** A computer that is reached by RDP: xrdp with TLS, and behind it, without a session manager, the one desktop of an X server. */
export interface Desk extends AsyncDisposable {
  readonly port: number
  readonly display: Display
}

export async function startDesk(folder: string): Promise<Desk> {
  await using owned = new AsyncDisposableStack()
  mkdirSync(folder, { recursive: true })
  const [port, vnc] = [await freePort(), await freePort()]
  const words = [
    '-geometry',
    '640x480',
    '-depth',
    '24',
    '-rfbport',
    String(vnc),
    '-localhost',
    '-SecurityTypes',
    'None',
  ]
  const display = owned.use(await Display.start('Xtigervnc', words))
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  const pair = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=desk', '-keyout', key, '-out', cert]
  const { code, stderr } = await run('openssl', pair)
  if (code !== 0) throw new Error(stderr)
  const config = join(folder, 'xrdp.ini')
  writeFileSync(config, xrdpIni({ folder, port, vnc, key, cert }))
  const args = ['--nodaemon', '--config', config]
  const xrdp = new Running(spawn('/usr/sbin/xrdp', args, { stdio: ['ignore', 'pipe', 'pipe'] }), 'xrdp')
  owned.defer(async () => void (await xrdp.stop()))
  await answers(port)
  const parts = owned.move()
  return { port, display, [Symbol.asyncDispose]: () => parts.disposeAsync() }
}

/** It says nothing when it listens. */
async function answers(port: number): Promise<void> {
  for (let tries = 0; ; tries += 1) {
    const socket = connect(port, '127.0.0.1')
    const isThere = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (isThere) return
    if (tries > 300) throw new Error('xrdp does not listen')
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}

interface Places {
  readonly folder: string
  readonly port: number
  readonly vnc: number
  readonly key: string
  readonly cert: string
}

/** `fork`: else each connection would be a process that nobody here could end. */
function xrdpIni({ folder, port, vnc, key, cert }: Places): string {
  return `[Globals]
ini_version=1
fork=false
port=tcp://.:${port}
tcp_nodelay=true
security_layer=tls
certificate=${cert}
key_file=${key}
ssl_protocols=TLSv1.2, TLSv1.3
autorun=desk
allow_channels=true
max_bpp=32
use_fastpath=both
[Logging]
LogFile=${join(folder, 'xrdp.log')}
LogLevel=INFO
EnableSyslog=false
[Channels]
drdynvc=true
[desk]
name=desk
lib=libvnc.so
ip=127.0.0.1
port=${vnc}
username=na
password=na
delay_ms=0
`
}

/** Somebody who sits before a screen, with an RDP client in its upper left corner. */
export class Visitor implements AsyncDisposable {
  readonly screen: Screen
  readonly #home: string
  #client: Running | undefined

  constructor(screen: Screen, home: string) {
    this.screen = screen
    this.#home = home
  }

  /** @param at an .rdp file, or `/v:host:port` */
  connect(at: string, more: readonly string[] = []): Running {
    const args = [
      at,
      '/u:ada',
      '/p:na',
      '/sec:tls',
      '-clipboard',
      '/cert:ignore',
      '/dynamic-resolution',
      '/size:640x480',
    ]
    const env = { HOME: this.#home, XDG_CONFIG_HOME: this.#home }
    this.#client = this.screen.display.start('xfreerdp', [...args, ...more], env)
    return this.#client
  }

  /**
   * Waits until the screen shows what another one does, to the pixel, or no box at all.
   *
   * @throws with how many are not the same; at once where the other one shows nothing, since that would be seen too soon
   */
  async sees(like: Screen | 'nothing', seconds = 15): Promise<void> {
    const wanted = like === 'nothing' ? undefined : like.picture
    if (wanted && isBlank(wanted)) throw new Error('there is nothing to compare with')
    const until = Date.now() + seconds * 1000
    for (;;) {
      const seen = this.screen.picture
      if (wanted ? seen.differences(wanted) === 0 : isBlank(seen)) return
      if (Date.now() > until) {
        const why = wanted ? `${seen.differences(wanted)} pixels differ` : 'something is still shown'
        throw new Error(`${why}\n${this.#client?.stdout}${this.#client?.stderr}`)
      }
      await new Promise(resolve => setTimeout(resolve, 50))
    }
  }

  async resize(width: number, height: number): Promise<void> {
    const { display } = this.screen
    const [window = ''] = (await display.run('xdotool', 'search', '--name', 'FreeRDP')).trim().split('\n')
    await display.run('xdotool', 'windowsize', window, String(width), String(height))
  }

  /** As a hand does it, which takes its time; and then out of the way, since what the pointer is on looks different. */
  async click(x: number, y: number): Promise<void> {
    const press = ['mousemove', String(x), String(y), 'sleep', '0.2', 'mousedown', '1', 'sleep', '0.1', 'mouseup', '1']
    await this.screen.display.run('xdotool', ...press, 'sleep', '0.1', 'mousemove', '5', '5')
  }

  async leave(): Promise<void> {
    await this.#client?.stop()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.leave()
    await this.screen[Symbol.asyncDispose]()
  }
}
