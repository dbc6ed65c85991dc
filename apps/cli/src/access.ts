import { type ApplicationClient, createClient } from '@postern/client'
import { type AuthProvider, type Call, PosternError } from '@postern/interface'
import {
  createSecretReader,
  type HostOptionSpecs,
  parseCommandLine,
  readOptions,
  renderHelp,
  type Values,
} from '@postern/options'
import {
  type Composed,
  clientHost,
  composePlugins,
  type Program,
  pluginPlaces,
  readLevel,
  readTrust,
} from '@postern/program'
import { createRegistry, type Registry } from '@postern/registry'
import { builtins } from './builtin.ts'
import { ACCESS_FLAGS, type Choice, choosePlugins } from './flags.ts'
import { listenLocally } from './listener.ts'
import { openStdio } from './stdio.ts'

/**
 * ssh hangs up on its ProxyCommand as soon as it is done. The bytes behind it have their end already; this much time, in ms,
 * they get to say so on the other side, where it would be a cut otherwise.
 */
const STDIO_GRACE = 1_000

/** `postern access <protocol>`: credential, session, then the protocol's own plugin until the user is done. */
export async function access(protocol: string, argv: readonly string[], program: Program, outer: Call): Promise<void> {
  const line = parseCommandLine(argv, ACCESS_FLAGS)
  const registry = createRegistry(builtins)
  if (line.given.some(one => one.option === 'help')) return program.print(await help(protocol, registry, outer))
  const sources = {
    env: program.env,
    cwd: program.cwd,
    secrets: createSecretReader(undefined),
    redactor: program.redactor,
  }
  const { values, warnings } = await readOptions(
    ACCESS_FLAGS,
    { ...sources, given: line.given, pending: line.pending },
    outer.signal,
  )
  const log = program.log(readLevel(values.logLevel))
  using stop = stopping(program, values.url === undefined ? STDIO_GRACE : 0)
  const call: Call = { signal: stop.signal, log }
  for (const plugin of values.plugin) await registry.add(plugin, pluginPlaces(program))
  const wanted = choosePlugins(protocol, values, line, registry)
  const hosts = { client: clientHost(program) }
  // Without a local port, stdin is the connection; with one, a secret may come from there.
  const secrets = createSecretReader(values.url === undefined ? undefined : process.stdin)
  await using composed = await composePlugins(
    {
      registry,
      line,
      own: ACCESS_FLAGS,
      wanted: [wanted.protocol, wanted.transport, ...wanted.auth],
      sources: { ...sources, secrets },
      hosts,
    },
    call,
  )
  if (composed.words.length > 0)
    throw new PosternError('BAD_USAGE', `nothing is done with ${JSON.stringify(composed.words[0])}`)
  for (const warning of [...warnings, ...composed.warnings]) log.warn(warning)
  await bridge(values, wanted, composed, program, call)
}

async function bridge(
  values: Values<typeof ACCESS_FLAGS>,
  wanted: Choice,
  composed: Composed,
  program: Program,
  call: Call,
): Promise<void> {
  const auth: AuthProvider[] = []
  for (const one of wanted.auth) auth.push(await composed.create(one))
  const transport = await composed.create(wanted.transport)
  const protocol = await composed.create(wanted.protocol)
  const { hostname, edge, url } = values
  const trust = await readTrust(values.ca)
  await using client = createClient({ hostname, auth, transport, trust, ...(edge && { edge }) })
  await using listener = url === undefined ? undefined : await listenLocally(url, call.log)
  await client.connect(call)
  const stdio = openStdio()
  if (listener) announce(client, listener.address, program, call)
  try {
    const local = { app: client.app, open: (inner: Call) => client.open(inner), stdio }
    await protocol.connect({ ...local, ...(listener && { listener }) }, call)
  } catch (error) {
    const done = listener !== undefined && error === program.stop.gently.reason // Ctrl-C is how one says that the forward is done with
    if (!done) throw error
  } finally {
    stdio.destroy()
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

function announce(client: ApplicationClient, address: string, program: Program, call: Call): void {
  const { hostname } = client.app
  if (program.json) program.print(`${JSON.stringify({ event: 'listening', hostname, address })}\n`)
  else call.log.info(`${hostname} is at ${address}; Ctrl-C ends it`)
}

async function help(protocol: string, registry: Registry, call: Call): Promise<string> {
  const found = registry.find('protocol', protocol)
  const sections = [{ title: 'Options', specs: ACCESS_FLAGS as HostOptionSpecs }]
  for (const [kind, name] of [
    ['auth', 'service-token'],
    ['protocol', protocol],
  ] as const) {
    if (!registry.find(kind, name)) continue
    const { options } = await registry.load(kind, name, 'client', call)
    sections.push({ title: kind === 'auth' ? `--auth ${name}` : `The protocol ${name}`, specs: options })
  }
  return renderHelp({
    usage: `postern access ${protocol} --hostname HOST [options]`,
    summary: found
      ? `Reach an application by ${protocol}.`
      : `Reach an application by ${protocol}, a protocol that a plugin must bring (--plugin).`,
    sections,
    examples:
      protocol === 'ssh'
        ? ["ssh -o ProxyCommand='postern access ssh --hostname %h --id ID --secret-file FILE' me@ssh.example.com"]
        : [`postern access ${protocol} --hostname db.example.com --url localhost:5432 --id ID --secret-file FILE`],
  })
}
