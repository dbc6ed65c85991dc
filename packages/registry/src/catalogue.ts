import type { Kind, ManifestEntry, Side } from '@postern/interface'
import { refusal } from './refusal.ts'

/** A plugin that can be used, known by its manifest. None of its code was loaded. */
export interface Found {
  readonly package: string
  readonly entry: ManifestEntry
  readonly builtin: boolean
  /** The package's real folder; absent for a built-in. */
  readonly folder?: string
  /** Of a package that was added. */
  readonly version?: string
  /** Of one that is not built in: whether it still is what was added. @throws PosternError PLUGIN_INTEGRITY */
  readonly check?: () => Promise<void>
  /** How a built-in's sides are loaded. */
  readonly load?: Partial<Record<Side, () => Promise<unknown>>>
}

/** All plugins of a run, by kind and name, and the protocols by the service schemes they serve. */
export class Catalogue {
  readonly #named = new Map<string, Found>()
  readonly #serving = new Map<string, Found>()

  /**
   * Takes all of a package's plugins or none. The same folder again changes nothing. With `override` a built-in plugin gives way:
   * by name altogether, by scheme for that scheme only.
   *
   * @throws PosternError PLUGIN_CONFLICT
   */
  add(all: readonly Found[], override: boolean): void {
    const fresh = all.filter(one => !this.#has(one))
    for (const found of fresh)
      for (const [claim, rival] of this.#rivals(found))
        if (!rival.builtin || !override) throw conflict(found, claim, rival)
    for (const found of fresh) {
      const { kind, name, schemes = [] } = found.entry
      const replaced = this.find(kind, name)
      for (const scheme of replaced?.entry.schemes ?? []) this.#serving.delete(scheme)
      this.#named.set(key(kind, name), found)
      for (const scheme of schemes) this.#serving.set(scheme, found)
    }
  }

  find(kind: Kind, name: string): Found | undefined {
    return this.#named.get(key(kind, name))
  }

  forScheme(scheme: string): Found | undefined {
    return this.#serving.get(scheme.replace(/:$/, '').toLowerCase())
  }

  all(): readonly Found[] {
    return [...this.#named.values()]
  }

  #has({ entry, folder }: Found): boolean {
    return folder !== undefined && this.find(entry.kind, entry.name)?.folder === folder
  }

  /** What a plugin claims that another one has, and who that is. */
  #rivals({ entry: { kind, name, schemes = [] } }: Found): (readonly [claim: string, rival: Found])[] {
    const claims = [
      [`the name "${name}" for ${kind}`, this.find(kind, name)] as const,
      ...schemes.map(scheme => [`the service scheme ${scheme}:`, this.#serving.get(scheme)] as const),
    ]
    return claims.flatMap(([claim, rival]) => (rival ? [[claim, rival] as const] : []))
  }
}

function conflict(found: Found, claim: string, rival: Found) {
  return refusal('PLUGIN_CONFLICT', {
    plugin: found.package,
    found: `${claim}, which ${rival.builtin ? 'the built-in ' : ''}${rival.package} has already`,
    wanted: 'names and schemes of its own',
    fix: rival.builtin
      ? 'Leave it out, or allow the override of the built-in explicitly.'
      : 'Leave one of the two out.',
  })
}

function key(kind: Kind, name: string): string {
  return `${kind} ${name}`
}
