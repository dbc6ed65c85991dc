import type { CommandLine, HostOptionSpecs, Values } from '@postern/options'
import { PLUGIN_FLAGS, PROGRAM_FLAGS, type Wanted } from '@postern/program'
import type { Registry } from '@postern/registry'

/** The flags of `postern access …` that belong to no plugin. */
export const ACCESS_FLAGS = {
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
    summary: 'listen here instead of using stdin and stdout, for example localhost:5432',
    env: ['POSTERN_URL', 'TUNNEL_SERVICE_URL'],
  },
  auth: {
    type: 'string',
    multiple: true,
    summary: 'how to sign in (default: what the other flags belong to)',
    env: ['POSTERN_AUTH'],
  },
  ...PLUGIN_FLAGS,
  edge: { type: 'url', summary: 'where the edge listens, if not at the hostname', env: ['POSTERN_EDGE'] },
  ca: {
    type: 'path',
    summary: 'PEM file of the CA to trust for the edge, instead of the system’s',
    env: ['POSTERN_CA'],
  },
  ...PROGRAM_FLAGS,
} as const satisfies HostOptionSpecs

/** The plugins one run uses. */
export interface Choice {
  readonly protocol: Wanted<'protocol', 'client'>
  readonly transport: Wanted<'transport', 'client'>
  readonly auth: readonly Wanted<'auth', 'client'>[]
}

/** Which plugins the flags name, or mean. */
export function choosePlugins(
  protocol: string,
  values: Pick<Values<typeof ACCESS_FLAGS>, 'auth' | 'transport'>,
  line: CommandLine,
  registry: Registry,
): Choice {
  const names = values.auth.length > 0 ? values.auth : [impliedAuth(line, registry)]
  return {
    protocol: { kind: 'protocol', side: 'client', name: protocol },
    transport: { kind: 'transport', side: 'client', name: values.transport },
    auth: names.map(name => ({ kind: 'auth', side: 'client', name })),
  }
}

/** Without `--auth`, the flags say it: `--id` and `--secret` alone choose the plugin they belong to. */
function impliedAuth(line: CommandLine, registry: Registry): string {
  const owners = line.pending.map(({ name }) =>
    registry.ownersOf(name.replace(/-file$/, '')).filter(one => one.kind === 'auth' && one.side === 'client'),
  )
  const certain = owners.find(list => list.length === 1)?.[0]
  return certain?.name ?? 'service-token'
}
