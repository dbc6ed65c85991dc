import { type Call, PosternError } from '@postern/interface'
import { type CommandLine, type HostOptionSpecs, parseCommandLine, readOptions, renderHelp } from '@postern/options'
import type { Program } from '@postern/program'
import { createRegistry, type Registry } from '@postern/registry'
import { about } from './about.ts'
import { builtins } from './builtin.ts'
import { ACCESS_FLAGS, DEFAULT_AUTH, PLACE_FLAGS } from './flags.ts'
import type { Forward } from './local-address.ts'
import { type Run, secretsOf, startRun } from './run.ts'
import { openStdio } from './stdio.ts'
import { makeWay } from './way.ts'

/**
 * ssh hangs up on its ProxyCommand as soon as it is done. The bytes behind it have their end already; this much time, in ms,
 * they get to say so on the other side, where it would be a cut otherwise.
 */
const STDIO_GRACE = 1_000

/** `postern access <protocol>`: credential, session, then the protocol's own plugin until the user is done. */
export async function access(protocol: string, argv: readonly string[], program: Program, outer: Call): Promise<void> {
  const line = parseCommandLine(argv, ACCESS_FLAGS)
  if (line.given.some(one => one.option === 'help'))
    return program.print(await help(protocol, createRegistry(builtins), outer))
  const said = await readPlaces(line, program, outer.signal)
  const started = await startRun(line, program, secretsOf(said.kind === 'listen'), outer.signal)
  const { places, run } = withPort(said, started, protocol)
  using stop = stopping(program, places.kind === 'listen' ? 0 : STDIO_GRACE)
  const call: Call = { signal: stop.signal, log: run.log }
  if (places.kind === 'stdio') return await stdio(places.hostname, protocol, run, call) // awaited: `stop` must hear until then
  const { forward } = await import('./forward.ts')
  await forward(places.forwards, protocol, run, call)
}

type Places =
  | { readonly kind: 'stdio'; readonly hostname: string }
  | { readonly kind: 'listen'; readonly forwards: readonly Forward[] }

/** Which applications, and where from here: `--hostname` with or without `--url`, or any number of `-L`. */
async function readPlaces(line: CommandLine, program: Program, signal: AbortSignal): Promise<Places> {
  const { env, cwd, redactor } = program
  const forwards = line.given.filter(one => one.option === 'forward')
  if (forwards.length > 0) {
    const other = line.given.find(one => one.option in PLACE_FLAGS)
    if (other) {
      throw new PosternError('OPTION_CONFLICT', `${other.flag} is for one application, -L for any number`, {
        next: 'Write each application as -L [BIND:]PORT:HOSTNAME, or use --hostname and --url for one.',
      })
    }
    const { readForward, refuseTwice } = await import('./local-address.ts')
    const read = forwards.map(one => readForward(one.value ?? '', cwd))
    refuseTwice(read)
    return { kind: 'listen', forwards: read }
  }
  const sources = { given: line.given, pending: line.pending, env, cwd, redactor, secrets: secretsOf(false) }
  const { hostname, url } = (await readOptions(PLACE_FLAGS, sources, signal)).values
  if (url === undefined) return { kind: 'stdio', hostname }
  const { readLocalAddress } = await import('./local-address.ts')
  return { kind: 'listen', forwards: [{ hostname, local: readLocalAddress(url, '--url', cwd) }] }
}

/** A protocol whose programs know nothing but ports gets one, any that is free, where none was said. Stdin is then no connection. */
function withPort(places: Places, run: Run, protocol: string): { readonly places: Places; readonly run: Run } {
  if (places.kind === 'listen' || !run.registry.find('protocol', protocol)?.entry.listens) return { places, run }
  const { hostname } = places
  return {
    places: { kind: 'listen', forwards: [{ hostname, local: { host: '127.0.0.1', port: 0 } }] },
    run: { ...run, sources: { ...run.sources, secrets: secretsOf(true) } },
  }
}

/** The pipe between a local program and one stream, as ssh wants of its ProxyCommand. */
async function stdio(hostname: string, protocol: string, run: Run, call: Call): Promise<void> {
  await using way = await makeWay(hostname, protocol, run, () => {}, call)
  for (const warning of way.warnings) call.log.warn(warning)
  const pipe = openStdio()
  try {
    await way.client.begin(call)
    await way.protocol.connect({ app: way.client.app, open: inner => way.client.open(inner), stdio: pipe }, call)
  } catch (error) {
    throw about(hostname, error)
  } finally {
    pipe.destroy()
  }
}

/** Aborted by the first signal after a grace, by the second at once. */
function stopping({ stop }: Program, grace: number): Disposable & { readonly signal: AbortSignal } {
  const late = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const heard = () => {
    if (grace === 0) late.abort(stop.gently.reason)
    else timer = setTimeout(() => late.abort(stop.gently.reason), grace)
  }
  if (stop.gently.aborted) heard()
  else stop.gently.addEventListener('abort', heard)
  return {
    signal: AbortSignal.any([late.signal, stop.now]),
    [Symbol.dispose]: () => {
      clearTimeout(timer)
      stop.gently.removeEventListener('abort', heard)
    },
  }
}

const EXAMPLES: Readonly<Record<string, readonly string[]>> = {
  ssh: ["ssh -o ProxyCommand='postern access ssh --hostname %h' me@ssh.example.com"],
  rdp: [
    'postern access rdp --hostname desk.example.com',
    'postern access rdp --hostname desk.example.com --url localhost:33890 --rdp-file desk.rdp --no-open',
  ],
  smb: ['postern access smb --hostname files.example.com --url localhost:4450'],
}

const ANY_PORT = {
  ...PLACE_FLAGS.url,
  summary: 'listen here: localhost:5432, or a path for a Unix socket (default: a free port of this machine)',
} as const

async function help(protocol: string, registry: Registry, call: Call): Promise<string> {
  const found = registry.find('protocol', protocol)
  const specs: HostOptionSpecs = found?.entry.listens ? { ...ACCESS_FLAGS, url: ANY_PORT } : ACCESS_FLAGS
  const sections = [{ title: 'Options', specs }]
  for (const [kind, name] of [
    ['auth', DEFAULT_AUTH],
    ['auth', 'service-token'],
    ['auth', 'mtls'],
    ['protocol', protocol],
  ] as const) {
    if (!registry.find(kind, name)) continue
    const { options } = await registry.load(kind, name, 'client', call)
    sections.push({ title: kind === 'auth' ? `--auth ${name}` : `The protocol ${name}`, specs: options })
  }
  return renderHelp({
    usage: `postern access ${protocol} {--hostname HOST | -L PORT:HOST …} [options]`,
    summary: found
      ? `Reach an application by ${protocol}.`
      : `Reach an application by ${protocol}, a protocol that a plugin must bring (--plugin).`,
    sections,
    examples: EXAMPLES[protocol] ?? [
      `postern access ${protocol} --hostname db.example.com --url localhost:5432`,
      `postern access ${protocol} -L 5432:db.example.com -L ./queue.sock:queue.example.com --id ID --secret-file FILE`,
    ],
  })
}
