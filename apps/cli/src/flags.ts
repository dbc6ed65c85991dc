import type { CommandLine, HostOptionSpecs, Values } from '@postern/options'
import { PLUGIN_FLAGS, PROGRAM_FLAGS, type Wanted } from '@postern/program'
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
    summary: 'how to sign in (default: what the other flags belong to)',
    env: ['POSTERN_AUTH'],
  },
  transport,
  edge: { type: 'url', summary: 'where the edge listens, if not at the hostname', env: ['POSTERN_EDGE'] },
  ca: {
    type: 'path',
    summary: 'PEM file of the CA to trust for the edge, instead of the system’s',
    env: ['POSTERN_CA'],
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
  readonly transport: Wanted<'transport', 'client'>
  readonly auth: readonly Wanted<'auth', 'client'>[]
}

/**
 * Which plugins the flags name, or mean.
 *
 * @param keys of the application's section in the config file
 */
export function choosePlugins(
  protocol: string,
  values: Pick<Values<typeof ACCESS_FLAGS>, 'auth' | 'transport'>,
  line: CommandLine,
  registry: Registry,
  keys: readonly string[] = [],
): Choice {
  const names = values.auth.length > 0 ? values.auth : [impliedAuth(line, registry, keys)]
  return {
    protocol: { kind: 'protocol', side: 'client', name: protocol },
    transport: { kind: 'transport', side: 'client', name: values.transport },
    auth: names.map(name => ({ kind: 'auth', side: 'client', name })),
  }
}

/** Without `--auth`, the flags say it: `--id` and `--secret` alone choose the plugin they belong to. So do the keys of the file. */
function impliedAuth(line: CommandLine, registry: Registry, keys: readonly string[]): string {
  const given = [...line.pending.map(({ name }) => name.replace(/-file$/, '')), ...keys.map(withoutFile)]
  const owners = given.map(name => registry.ownersOf(name).filter(one => one.kind === 'auth' && one.side === 'client'))
  const certain = owners.find(list => list.length === 1)?.[0]
  return certain?.name ?? 'service-token'
}

/** The option behind a key that names the file of a secret: `secretFile` → `secret`. */
export function withoutFile(key: string): string {
  return key.replace(/File$/, '')
}
