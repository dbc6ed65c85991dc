import type { Call } from '@postern/interface'
import {
  type CommandLine,
  type HostOptionSpecs,
  kebab,
  nearest,
  screaming,
  type Values,
  variablesOf,
} from '@postern/options'
import { PLUGIN_FLAGS, PROGRAM_FLAGS, transportsOf, type Wanted } from '@postern/program'
import type { Registry } from '@postern/registry'

const { plugin, transport } = PLUGIN_FLAGS

/** The one application, where no `-L` names several. */
export const PLACE_FLAGS = {
  hostname: {
    type: 'string',
    required: true,
    aliases: ['T'],
    summary: 'the application, with the edge’s port where it is not 443',
    env: ['POSTERN_HOSTNAME', 'TUNNEL_SERVICE_HOSTNAME'],
  },
  url: {
    type: 'string',
    aliases: ['listener'],
    summary: 'listen here instead of using stdin and stdout: localhost:5432, or a path for a Unix socket',
    env: ['POSTERN_URL', 'TUNNEL_SERVICE_URL'],
  },
} as const satisfies HostOptionSpecs

/** What may be different for each application: also the keys of its section in the config file. */
export const APPLICATION_FLAGS = {
  auth: {
    type: 'string',
    multiple: true,
    summary: 'how to sign in (default: what the other flags and variables belong to, else browser-sso)',
    env: ['POSTERN_AUTH'],
  },
  transport,
  edge: { type: 'url', summary: 'where the edge listens, if not at the hostname', env: ['POSTERN_EDGE'] },
  ca: {
    type: 'path',
    summary: 'PEM file of the CA to trust for the edge, instead of the system’s',
    env: ['POSTERN_CA'],
  },
  endToEnd: {
    type: 'boolean',
    default: false,
    summary: 'refuse a connection that the edge could read',
    env: ['POSTERN_END_TO_END'],
  },
  pin: {
    type: 'string',
    summary: 'the key of the application’s tunnel: sha256:…, as posternd prints it (default: what was seen first)',
    env: ['POSTERN_PIN'],
  },
} as const satisfies HostOptionSpecs

/** What is the same for a whole run. */
export const RUN_FLAGS = {
  plugin,
  config: {
    type: 'path',
    summary: 'the config file, instead of the one in your own settings folder',
    env: ['POSTERN_CONFIG'],
  },
  ...PROGRAM_FLAGS,
  verbose: {
    type: 'boolean',
    default: false,
    aliases: ['v'],
    summary: 'what --log-level debug logs: also by which transport, and whether the edge can read',
  },
} as const satisfies HostOptionSpecs

/** The flags of `postern access …` that belong to no plugin. */
export const ACCESS_FLAGS = {
  ...PLACE_FLAGS,
  forward: {
    type: 'string',
    multiple: true,
    aliases: ['L'],
    summary: 'listen at a port or socket for an application: [BIND:]PORT:HOSTNAME[:EDGEPORT] or /PATH.sock:HOSTNAME',
  },
  ...APPLICATION_FLAGS,
  ...RUN_FLAGS,
} as const satisfies HostOptionSpecs

/** The plugins one run uses. */
export interface Choice {
  readonly protocol: Wanted<'protocol', 'client'>
  /** In the order in which they are tried. */
  readonly transports: readonly Wanted<'transport', 'client'>[]
  readonly auth: readonly Wanted<'auth', 'client'>[]
}

/** What `--transport auto` tries: the fastest first, and what passes most proxies behind it. */
const TRANSPORTS = ['tls', 'websocket', 'grpc']

/** How people sign in who say nothing else. */
export const DEFAULT_AUTH = 'browser-sso'

/** What says, for one application, which plugins are meant. */
export interface Said {
  readonly values: Pick<Values<typeof ACCESS_FLAGS>, 'auth' | 'transport'>
  readonly line: CommandLine
  readonly registry: Registry
  readonly env: NodeJS.ProcessEnv
  /** Of the application's section in the config file. */
  readonly keys: readonly string[]
}

/** Which plugins the flags name, or mean. @throws PosternError PLUGIN_* */
export async function choosePlugins(protocol: string, said: Said, call: Call): Promise<Choice> {
  const { auth, transport } = said.values
  const names = auth.length > 0 ? auth : [await impliedAuth(said, call)]
  return {
    protocol: { kind: 'protocol', side: 'client', name: protocol },
    transports: transportsOf(transport, TRANSPORTS, said.registry),
    auth: names.map(name => ({ kind: 'auth', side: 'client', name })),
  }
}

/**
 * Without `--auth`, the flags say it: `--id` and `--secret` alone choose the plugin they belong to, and `--service-token.id`
 * names its own; one that is misspelt is still meant for the plugin whose option it nearly is. So do the keys of the file.
 */
async function impliedAuth({ line, registry, env, keys }: Said, call: Call): Promise<string> {
  const given = [...line.pending.map(({ name }) => name.replace(/-file$/, '')), ...keys.map(withoutFile)]
  const named = given.flatMap(name => /^([a-z0-9-]+)\./.exec(name)?.[1] ?? [])
  const owners = given.map(name => authsWith(name, registry))
  const certain = named.find(name => registry.find('auth', name)) ?? owners.find(list => list.length === 1)?.[0]
  if (certain !== undefined) return certain
  const options = registry.names('auth', 'client').flatMap(name => optionsOf(registry, name))
  const misspelt = given.flatMap(name => authsWith(nearest(name, options) ?? '', registry))
  return misspelt[0] ?? (await authOfVariables(registry, env, call)) ?? DEFAULT_AUTH
}

function authsWith(option: string, registry: Registry): readonly string[] {
  const owners = registry.ownersOf(option).filter(one => one.kind === 'auth' && one.side === 'client')
  return owners.map(one => one.name)
}

function optionsOf(registry: Registry, name: string): readonly string[] {
  return (registry.find('auth', name)?.entry.options?.client ?? []).map(kebab)
}

/** The first plugin that a variable of the environment is for. */
async function authOfVariables(registry: Registry, env: NodeJS.ProcessEnv, call: Call): Promise<string | undefined> {
  for (const name of registry.names('auth', 'client')) {
    if (name === DEFAULT_AUTH) continue // it is meant without any
    const { options } = await registry.load('auth', name, 'client', call)
    const variables = Object.entries(options).flatMap(([option, spec]) =>
      variablesOf(option, spec, `POSTERN_${screaming(name)}`),
    )
    if (variables.some(one => env[one] || env[`${one}_FILE`])) return name
  }
  return undefined
}

/** The option behind a key that names the file of a secret: `secretFile` → `secret`. */
export function withoutFile(key: string): string {
  return key.replace(/File$/, '')
}
