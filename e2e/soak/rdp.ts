import { setTimeout as sleep } from 'node:timers/promises'
import { Screen, startDesk, Visitor } from '../world/desk.ts'
import { temporaryFolder } from '../world/folder.ts'
import { startJoined } from '../world/joined.ts'
import { start } from '../world/program.ts'

/**
 * security.md row 82: somebody works on a remote desktop for half an hour in each mode, both at once. Every few seconds there is
 * another text, which must be on their screen to the pixel; each fifth time in another size; the connection is never made anew.
 */
export const stated = { minutes: 30, everySeconds: 5 }

const MODES = ['hop', 'end-to-end'] as const
const SIZES = [
  [640, 480],
  [720, 540],
  [780, 590],
] as const

export default async function (size: typeof stated): Promise<Record<string, number | string>> {
  using folder = temporaryFolder()
  const until = Date.now() + size.minutes * 60_000
  const pictures = await Promise.all(MODES.map(mode => sit(mode, `${folder.path}/${mode}`, until, size.everySeconds)))
  return Object.fromEntries(MODES.map((mode, at) => [`pictures seen, ${mode}`, pictures[at] ?? 0]))
}

/** @returns pictures that were seen */
async function sit(mode: (typeof MODES)[number], folder: string, until: number, seconds: number): Promise<number> {
  await using desk = await startDesk(folder)
  await using wanted = await Screen.start(`${folder}/wanted`, '800x600')
  await using visitor = new Visitor(await Screen.start(`${folder}/screen`, '800x600'), folder)
  const hostname = 'desk.localhost'
  await using world = await startJoined({
    here: true,
    apps: { [hostname]: { service: `rdp://127.0.0.1:${desk.port}`, mode } },
  })
  const file = `${folder}/desk.rdp`
  const args = ['--hostname', `${hostname}:${world.port}`, ...world.flags(hostname), '--rdp-file', file, '--no-open']
  const access = start('postern', ['access', 'rdp', ...args], { env: { POSTERN_HOME: `${folder}/home` } })
  await using _ended = { [Symbol.asyncDispose]: async () => void (await access.stop('SIGKILL')) }
  await access.says(/with your RDP client/)
  const client = visitor.connect(file)
  let seen = 0
  for (; Date.now() < until; seen += 1) {
    const [width, height] = SIZES[Math.floor(seen / 5) % SIZES.length] ?? SIZES[0]
    if (seen > 0 && seen % 5 === 0) await visitor.resize(width, height)
    const text = crypto.randomUUID()
    const [x, y] = [20 + ((seen * 37) % 300), 20 + ((seen * 53) % 350)]
    await wanted.show(text, x, y)
    desk.display.show(text, x, y)
    await visitor.sees(wanted, 30)
    await sleep(seconds * 1000)
    await Promise.all([wanted.clear(), desk.display.clear()])
    await visitor.sees('nothing', 30)
    if (client.child.exitCode !== null) throw new Error(`the client ended: ${client.stderr}`)
  }
  const { rows } = await world.here.administration.call('audit.list', { query: { action: 'stream.note' } })
  if (rows.length !== 1) throw new Error(`${rows.length} connections, not one`)
  return seen
}
