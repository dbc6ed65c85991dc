import { type Call, PosternError } from '@postern/interface'
import { readLevel } from '@postern/program'
import type { RunningDaemon } from './daemon.ts'
import type { DaemonObserver } from './observer.ts'
import type { Plugins } from './running.ts'
import type { Settings, SettingsReader } from './settings.ts'

/** Settings that hold from the moment a file with them is read. Every other one is for the next start. */
const LIVE: readonly string[] = ['gracePeriod', 'logLevel', 'plugin']

export interface ReloadParts {
  readonly path: string
  readonly reader: SettingsReader
  readonly plugins: Plugins
  readonly daemon: RunningDaemon
  readonly observer: DaemonObserver
  readonly setLevel: (level: ReturnType<typeof readLevel>) => void
}

/**
 * Reads the file again. One that is wrong in any way changes nothing.
 *
 * @returns the settings that hold now
 */
export async function reload(old: Settings, parts: ReloadParts, call: Call): Promise<Settings> {
  const { path, reader, plugins, daemon, observer, setLevel } = parts
  const { log } = call
  try {
    const now = await reader.readConfig(path, call)
    if (textOf(now) === textOf(old)) {
      log.info('the config file was read again, and says the same')
      observer.onReload?.() // the last one may have been refused
      return old
    }
    const { rules, unserved, web } = await plugins.serve(now, call)
    setLevel(readLevel(now.values.logLevel))
    for (const warning of now.warnings) log.warn(warning)
    daemon.setRules(rules, unserved, web)
    const later = changedForLater(old, now)
    for (const name of later) log.warn(`${name} was changed; it holds from the next start on`)
    log.info('the config file was read again', { rules: now.rules.length })
    observer.onReload?.()
    return now
  } catch (thrown) {
    if (call.signal.aborted) return old
    const error = PosternError.from(thrown)
    log.error('the config file was not taken; the old rules serve on', { code: error.code, cause: error.message })
    observer.onReload?.(error)
    return old
  }
}

/** Names of settings, as the file has them. */
function changedForLater(old: Settings, now: Settings): readonly string[] {
  const names = Object.keys(now.values).filter(name => !LIVE.includes(name))
  const own = names.filter(name => textOf(member(old.values, name)) !== textOf(member(now.values, name)))
  const [before, after] = [old.forPlugins?.values ?? {}, now.forPlugins?.values ?? {}]
  const keys = new Set([...Object.keys(before), ...Object.keys(after)])
  return [...own, ...[...keys].filter(key => textOf(before[key]) !== textOf(after[key]))]
}

function member(values: object, name: string): unknown {
  return (values as Readonly<Record<string, unknown>>)[name]
}

function textOf(value: unknown): string {
  return JSON.stringify(value) ?? ''
}
