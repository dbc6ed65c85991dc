import type { EdgeHost, Kind, Logger, OptionSpecs } from '@postern/interface'
import type { Redactor } from '@postern/options'
import type { Found, Registry } from '@postern/registry'
import { Kept, type KeptStatus } from './kept.ts'
import { Life } from './life.ts'

/** What a plugin is created with. @throws PosternError OPTION_* */
export type ValuesOf = (kind: Kind, name: string, options: OptionSpecs) => Promise<Readonly<Record<string, unknown>>>

export interface OthersOptions {
  readonly registry: Registry
  readonly redactor: Redactor
  readonly log: Logger
  readonly valuesOf: ValuesOf
  /** @param rows the name of its rows */
  readonly hostOf: (rows: string) => EdgeHost
}

/** The plugins of others: each is kept in a thread of its own. */
export class Others implements AsyncDisposable {
  readonly #options: OthersOptions
  readonly #kept: Kept[] = []

  constructor(options: OthersOptions) {
    this.#options = options
  }

  get status(): readonly KeptStatus[] {
    return this.#kept.map(({ status }) => status)
  }

  /** Starts one. @returns undefined for one that comes with the edge @throws PosternError PLUGIN_*, OPTION_* */
  async keep(kind: Kind, name: string): Promise<Kept | undefined> {
    const { registry, redactor, valuesOf, hostOf } = this.#options
    const found = registry.find(kind, name)
    if (found === undefined || found.builtin) return undefined
    const about = { kind, name, package: found.package, ...(found.version !== undefined && { version: found.version }) }
    // The edge keeps rows of its own, by names that have no colon: a plugin that calls itself `team-keys` is not shown them.
    const host = hostOf(`plugin:${kind}:${name}`)
    const kept = await Kept.start({
      ...about,
      begin: () => this.#begin(found, host),
      values: async options => withoutUrls(await valuesOf(kind, name, options)),
      scrub: redactor.scrub,
      log: redactor.logger(this.#options.log),
    })
    this.#kept.push(kept)
    return kept
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#kept.map(kept => kept[Symbol.asyncDispose]()))
  }

  async #begin(
    { package: from, entry }: Found,
    host: EdgeHost,
  ): Promise<{ readonly life: Life; readonly options: OptionSpecs }> {
    const { registry, redactor, log } = this.#options
    const { kind, name } = entry
    const file = await registry.moduleOf(kind, name, 'edge')
    const life = new Life(
      { file, package: from, entry },
      host,
      tagged(redactor.logger(log), { plugin: name, package: from }),
    )
    try {
      return { life, options: await life.load() }
    } catch (error) {
      await life.end()
      throw error
    }
  }
}

function tagged(log: Logger, about: Readonly<Record<string, string>>): Logger {
  return {
    debug: (message, fields) => log.debug(message, { ...fields, ...about }),
    info: (message, fields) => log.info(message, { ...fields, ...about }),
    warn: (message, fields) => log.warn(message, { ...fields, ...about }),
    error: (message, fields) => log.error(message, { ...fields, ...about }),
  }
}

/** A URL would not cross to a thread: its text does. */
function withoutUrls(values: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const crossing = Object.entries(values).map(([name, value]) => [name, value instanceof URL ? value.href : value])
  return Object.fromEntries(crossing)
}
