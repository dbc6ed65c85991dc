import { type ApplicationClient, createClient, type SessionNews } from '@postern/client'
import type { AuthProvider, Call, Protocol } from '@postern/interface'
import { clientHost, composePlugins, readTrust } from '@postern/program'
import { ACCESS_FLAGS } from './flags.ts'
import { chooseFor, type Run } from './run.ts'

/** One application, ready to be reached: its plugins are at work, nothing is dialled yet. Ends them when it is disposed. */
export interface Way extends AsyncDisposable {
  readonly client: ApplicationClient
  readonly protocol: Protocol
  /** What the user should know, a sentence each. */
  readonly warnings: readonly string[]
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
  const names = { auth: plugins.auth.map(({ name }) => name).join(' '), transport: values.transport, protocol }
  call.log.debug('composing', { hostname, ...names, config: file?.path })
  await using owned = new AsyncDisposableStack()
  const composed = owned.use(
    await composePlugins(
      {
        registry,
        line,
        own: ACCESS_FLAGS,
        wanted: [plugins.protocol, plugins.transport, ...plugins.auth],
        sources: { ...sources, ...(file && { file }) },
        hosts: { client: clientHost(program) },
      },
      call,
    ),
  )
  const auth: AuthProvider[] = []
  for (const one of plugins.auth) auth.push(await composed.create(one))
  const transport = await composed.create(plugins.transport)
  const at = await composed.create(plugins.protocol)
  const { edge, ca } = values
  const trust = await readTrust(ca)
  const client = owned.use(createClient({ hostname, auth, transport, trust, onSession, ...(edge && { edge }) }))
  const parts = owned.move()
  return {
    client,
    protocol: at,
    warnings: composed.warnings,
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}
