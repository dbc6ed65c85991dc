import { userInfo } from 'node:os'
import { join } from 'node:path'
import type { RunningEdge } from '@postern/edge'
import type { Call } from '@postern/interface'
import { type DevToken, writeSshConfig } from './files.ts'
import { APP_HOST, ECHO_HOST, SSH_HOST, TEAM_DOMAIN, VAULT_HOST, WIKI_HOST } from './names.ts'
import { type SampleServer, startSampleEcho, startSampleSsh } from './samples.ts'
import { type Begun, type DevOptions, type DevSite, rulesFor, startSite, TUNNEL } from './site.ts'
import { makeSshKeys, type SshKeys } from './ssh-keys.ts'
import { startSampleWeb } from './web.ts'

/** With the sample services. */
export interface Dev extends DevSite {
  /** For a browser; each ends in `/`. The sample person may open all but the vault. */
  readonly urls: { readonly team: string; readonly app: string; readonly wiki: string; readonly vault: string }
  readonly ssh: { readonly what: string; readonly user: string; readonly keys: SshKeys; readonly configFile: string }
  readonly echo: { readonly what: string }
  readonly web: { readonly what: string }
}

/** What visitors do wrong, daemons and edges warn of; a test does it on purpose. */
const DEFAULT_LOG: Call['log'] = {
  debug() {},
  info() {},
  warn() {},
  error: (message, fields) => console.error(message, fields ?? ''),
}

/**
 * Starts a whole Postern in this process, and takes it all down with `await using`: as many as you like, side by side. It talks to loopback
 * only, writes to a temporary folder of its own only, and changes nothing of the process: no variable, no working folder, no handler.
 *
 * @param call its abort ends what runs at once. Default: it runs until it is disposed, and logs errors only; `log: console` tells more
 * @throws PosternError LISTEN_FAILED, and what edge and daemon throw
 *
 * @example
 * await using dev = await startDev({ samples: false })
 * const { url } = await dev.expose('shop.localhost', `http://127.0.0.1:${port}`)
 * const ann = await dev.signIn()
 * const answer = await ann.fetch(url)
 */
export async function startDev(
  options: DevOptions & { readonly samples: false },
  call?: Partial<Call>,
): Promise<DevSite>
export async function startDev(options?: DevOptions, call?: Partial<Call>): Promise<Dev>
export async function startDev(options: DevOptions = {}, given: Partial<Call> = {}): Promise<DevSite | Dev> {
  const call = { signal: given.signal ?? new AbortController().signal, log: given.log ?? DEFAULT_LOG }
  if (options.samples === false) return (await startSite(options, async () => ({ services: [] }), call)).site
  const { site, prepared } = await startSite(options, startSamples, call)
  const { ssh, keys, echo, web } = prepared
  const user = userInfo().username
  const configFile = writeSshConfig(site.folder, keys, user, site.postern)
  return {
    ...site,
    urls: urlsOf(site.port),
    ssh: { what: ssh.what, user, keys, configFile },
    echo: { what: echo.what },
    web: { what: web.what },
  }
}

interface Samples {
  readonly keys: SshKeys
  readonly ssh: SampleServer
  readonly echo: SampleServer
  readonly web: SampleServer
  readonly services: readonly (readonly [hostname: string, service: string])[]
}

async function startSamples({ folder, edge, to, serviceToken, owned }: Begun): Promise<Samples> {
  const keys = makeSshKeys(join(folder, 'ssh'))
  const ssh = owned.use(await startSampleSsh(join(folder, 'ssh'), keys))
  const echo = owned.use(await startSampleEcho())
  const web = owned.use(await startSampleWeb(to))
  await addApplications(edge, serviceToken)
  const pages = [APP_HOST, WIKI_HOST, VAULT_HOST].map(host => [host, `http://127.0.0.1:${web.port}`] as const)
  const bytes = [SSH_HOST, APP_HOST].map(host => [host, `ssh://127.0.0.1:${ssh.port}`] as const)
  return { keys, ssh, echo, web, services: [...pages, ...bytes, [ECHO_HOST, `tcp://127.0.0.1:${echo.port}`]] }
}

/** Who may open what: staff and the sample token everything, but for the vault. */
async function addApplications({ administration }: RunningEdge, serviceToken: DevToken): Promise<void> {
  const rules = rulesFor(serviceToken)
  const keepers = [{ name: 'keepers', action: 'allow' as const, include: [{ group: 'keepers' }] }]
  const applications = [
    { hostname: SSH_HOST, protocols: ['ssh'], rules },
    { hostname: ECHO_HOST, protocols: ['tcp'], rules, options: { name: 'Sample echo' } },
    { hostname: APP_HOST, protocols: ['http', 'ssh'], rules, options: { name: 'Sample application' } },
    { hostname: WIKI_HOST, protocols: ['http'], rules, options: { name: 'Sample wiki' } },
    {
      hostname: VAULT_HOST,
      protocols: ['http'],
      rules: keepers,
      options: { name: 'Sample vault', contact: 'keepers@example.com' },
    },
  ]
  for (const one of applications) await administration.call('application.create', { body: { tunnel: TUNNEL, ...one } })
}

function urlsOf(port: number): Dev['urls'] {
  const at = (hostname: string) => `https://${hostname}${port === 443 ? '' : `:${port}`}/`
  return { team: at(TEAM_DOMAIN), app: at(APP_HOST), wiki: at(WIKI_HOST), vault: at(VAULT_HOST) }
}
