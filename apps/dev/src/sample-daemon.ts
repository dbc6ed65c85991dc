import { builtins, originHost, readRule, type ServedRule, startDaemon, type TeamAddress } from '@postern/daemon'
import { type Call, type ClientHost, PosternError } from '@postern/interface'
import { createRegistry } from '@postern/registry'

/** A hostname and what is behind it. One hostname may have a service for bytes and one for requests. */
export type SampleRule = readonly [hostname: string, service: string]

/** The daemon, composed of the same plugins by the same registry as `posternd`. */
export async function startSampleDaemon(
  to: TeamAddress,
  token: string,
  services: readonly SampleRule[],
  call: Call,
): Promise<AsyncDisposable> {
  await using owned = new AsyncDisposableStack()
  const registry = createRegistry(builtins)
  const auth = [await registry.create('auth', 'tunnel-token', 'client', { token }, nobody(call), call)]
  const transport = await registry.create('transport', 'websocket', 'client', {}, nobody(call), call)
  const entryOf = (scheme: string) => registry.forScheme(scheme)?.entry
  const serverOf = async (scheme: string) => {
    const server = await registry.create('protocol', entryOf(scheme)?.name ?? '', 'origin', {}, originHost(to), call)
    owned.defer(() => server[Symbol.asyncDispose]?.())
    return server
  }
  const read = services.map(([hostname, service]) =>
    readRule(hostname, service, scheme => entryOf(scheme)?.defaultPort ?? 'none'),
  )
  const rules: ServedRule[] = []
  for (const rule of read)
    if (rule.service.protocol !== 'http:') rules.push({ ...rule, server: await serverOf(rule.service.protocol) })
  const pages = read.filter(({ service }) => service.protocol === 'http:')
  const web = { server: await serverOf('http:'), rules: pages.map(rule => ({ ...rule, segments: [], options: {} })) }
  owned.use(
    await startDaemon(
      { ...to, rules, web, auth, transports: [{ name: 'websocket', transport }], connections: 2 },
      call,
    ),
  )
  return owned.move()
}

/** A daemon keeps nothing and asks nobody. */
function nobody({ log }: Call): ClientHost {
  return {
    secrets: {
      get: async () => undefined,
      set: async () => {},
      delete: async () => {},
      exclusively: (_key, work) => work(),
    },
    ui: {
      show: line => log.info(line),
      open: async () => false,
      ask: () => Promise.reject(new PosternError('LOGIN_REQUIRED', 'nobody is there to ask')),
    },
    fetch: (input, init) => fetch(input, init),
  }
}
