import { type Kind, type Logger, PosternError } from '@postern/interface'
import type { Registry } from '@postern/registry'
import type { EdgeConfig } from '../config.ts'

const KINDS: readonly Kind[] = ['auth', 'transport', 'protocol']

/**
 * Makes the plugins of others known. Each package has to have an edge side that runs here: a verifier, or a protocol's.
 *
 * @throws PosternError PLUGIN_*, FILE_UNSAFE; CONFIG_INVALID: options for a plugin that is not there
 */
export async function addPlugins(
  registry: Registry,
  { addPlugins: added, pluginOptions }: EdgeConfig,
  log: Logger,
): Promise<void> {
  for (const name of added?.packages ?? []) {
    await registry.add(name, { ...added, from: added?.from ?? '' })
    const edgeSides = KINDS.flatMap(kind => registry.names(kind, 'edge').flatMap(one => registry.find(kind, one) ?? []))
    const own = edgeSides.filter(found => found.package === name && !found.builtin)
    if (own.every(({ entry }) => entry.kind === 'transport'))
      throw new PosternError(
        'PLUGIN_SIDE',
        `plugin ${name}: found nothing that runs in the edge; wanted an edge side of auth or of a protocol`,
        {
          next: 'Transports of others do not run here. Leave it out, and use it in postern and posternd.',
        },
      )
    for (const { entry } of own.filter(one => one.entry.kind === 'transport'))
      log.warn('transports of others do not run in the edge: this one is not used', {
        package: name,
        transport: entry.name,
      })
  }
  for (const [name, { path }] of pluginOptions ?? []) {
    if (KINDS.some(kind => registry.names(kind, 'edge').includes(name))) continue
    throw new PosternError(
      'CONFIG_INVALID',
      `${path}: options: there is no plugin ${JSON.stringify(name)} in this edge`,
    )
  }
}
