import { type ApplicationClient, createApplicationClient, type NamedTransport, type SessionNews } from '@postern/client'
import { readHostname } from '@postern/client/hostname'
import type { AuthProvider, Call, Protocol } from '@postern/interface'
import { clientHost, composePlugins, type EdgeAt, readTrust, type Wanted } from '@postern/program'
import { ACCESS_FLAGS } from './flags.ts'
import { areLate, lateTransport } from './late-transport.ts'
import { filePins, readPin } from './pins.ts'
import { chooseFor, type Run } from './run.ts'

/** One application, ready to be reached: its plugins are at work, nothing is dialled yet. Ends them when it is disposed. */
export interface Way extends AsyncDisposable {
  readonly client: ApplicationClient
  readonly protocol: Protocol
  /** What the user should know, a sentence each. */
  readonly warnings: readonly string[]
}

/** The flags of the command line were given to the plugins that were loaded at once. */
const NOTHING_GIVEN = { given: [], pending: [], words: [] }

/** An application’s edge. */
export type At = EdgeAt & { readonly edge: URL }

/** Where the edge of an application listens. @throws PosternError HOSTNAME_INVALID */
export function edgeAt(application: string, edge: URL | undefined, trust: EdgeAt['trust']): At {
  const { hostname, port } = readHostname(application)
  return { hostname, edge: edge ?? new URL(`https://${hostname}${port === undefined ? '' : `:${port}`}`), trust }
}

/** @throws PosternError PLUGIN_*, OPTION_*, FILE_*, CONFIG_INVALID, HOSTNAME_INVALID, BAD_USAGE */
export async function makeWay(
  hostname: string,
  protocol: string,
  run: Run,
  onSession: (news: SessionNews) => void,
  call: Call,
): Promise<Way> {
  const { registry, line, program, sources } = run
  const { values, plugins, file } = await chooseFor(run, hostname, protocol, call)
  const { edge } = values
  const endToEnd = {
    required: values.endToEnd,
    pins: filePins(program),
    ...(values.pin !== undefined && { pin: readPin(values.pin, '--pin') }),
  }
  const trust = await readTrust(values.ca)
  const host = clientHost(program, edgeAt(hostname, values.edge, trust), run.ui)
  const ui = { ...host.ui, interactive: host.ui.interactive !== false }
  const names = { auth: plugins.auth.map(({ name }) => name).join(' '), transport: values.transport, protocol }
  call.log.debug('composing', { hostname, ...names, config: file?.path })
  await using owned = new AsyncDisposableStack()
  const late = areLate(plugins.transports, registry)
  const composition = {
    registry,
    line,
    own: ACCESS_FLAGS,
    wanted: [plugins.protocol, ...plugins.transports.filter(one => !late.has(one)), ...plugins.auth],
    sources: { ...sources, ...(file && { file }) },
    hosts: { client: { ...host, ui } },
  }
  const composed = owned.use(await composePlugins(composition, call))
  const auth: AuthProvider[] = []
  for (const one of plugins.auth) auth.push(await composed.create(one))
  const transports: NamedTransport[] = []
  const compose = async (one: Wanted<'transport', 'client'>, inner: Call) => {
    const more = await composePlugins({ ...composition, wanted: [one], line: NOTHING_GIVEN }, inner)
    parts.use(more)
    return more.create(one)
  }
  for (const one of plugins.transports)
    if (late.has(one)) transports.push(lateTransport(one.name, inner => compose(one, inner)))
    else transports.push({ name: one.name, transport: await composed.create(one) })
  const at = await composed.create(plugins.protocol)
  const mayAsk = (may: boolean): void => {
    ui.interactive = may && host.ui.interactive !== false
  }
  const client = owned.use(
    createApplicationClient({ hostname, auth, transports, trust, onSession, mayAsk, endToEnd, ...(edge && { edge }) }),
  )
  const parts = owned.move()
  return {
    client,
    protocol: at,
    warnings: composed.warnings,
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}
