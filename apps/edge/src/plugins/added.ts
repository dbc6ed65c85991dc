import { type Kind, type Logger, PosternError } from '@postern/interface'
import type { Registry } from '@postern/registry'
import type { EdgeConfig } from '../config.ts'

const KINDS: readonly Kind[] = ['auth', 'transport', 'protocol']

/**
 * Makes the plugins of others known. Of each package the verifiers are used; it has to have one.
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
    if (!own.some(({ entry }) => entry.kind === 'auth'))
      throw new PosternError('PLUGIN_SIDE', `plugin ${name}: found no verifier; wanted one (auth, with an edge side)`, {
        next: 'Only verifiers of others run in the edge: leave it out here, and use it in postern and posternd.',
      })
    for (const { entry } of own.filter(one => one.entry.kind !== 'auth'))
      log.warn('only verifiers of others run in the edge: this is not used here', {
        package: name,
        [entry.kind]: entry.name,
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
