import { type Call, PosternError, type RuleSpec } from '@postern/interface'
import { type ConfigSection, nearest, readOptions, type Sources } from '@postern/options'
import type { Registry } from '@postern/registry'
import type { FileRule } from './ingress-file.ts'
import { type Mistakes, nameOf } from './mistakes.ts'

type Base = Omit<Sources, 'given' | 'envPrefix' | 'owner'>

/** Rules with what their protocol makes of their options. */
export interface Completed {
  readonly rules: readonly FileRule[]
  readonly warnings: readonly string[]
}

/** Whose rules HTTP applications are: the plugin that serves `http:`, whichever scheme a rule has. */
export function webProtocol(registry: Registry): string {
  return registry.forScheme('http:')?.entry.name ?? ''
}

/**
 * Reads `options:` of the rules that answer requests, and has the protocol look at each of these rules.
 *
 * @param mistakes of the file that the rules are from; without one the first mistake is thrown
 * @throws PosternError PLUGIN_*; OPTION_INVALID where there is no file
 */
export async function completeRules(
  rules: readonly FileRule[],
  registry: Registry,
  base: Base,
  path: string,
  mistakes: Mistakes | undefined,
  call: Call,
): Promise<Completed> {
  if (!rules.some(rule => rule.purposes.includes('http'))) return { rules, warnings: [] }
  const { rule: spec } = await registry.load('protocol', webProtocol(registry), 'origin', call)
  const completed: FileRule[] = []
  const warnings: string[] = []
  for (const rule of rules) {
    if (!rule.purposes.includes('http')) {
      completed.push(rule)
      continue
    }
    const wrong: string[] = []
    const options = await readSaid(rule, spec, { ...base, env: {} }, path, wrong, call)
    const found = wrong.length === 0 ? await spec?.check?.(rule.service, options) : undefined
    for (const one of [...wrong, ...(found?.mistakes ?? [])]) {
      if (!mistakes) throw new PosternError('OPTION_INVALID', one)
      mistakes.add(['ingress', rule.number - 1, ...(rule.said ? ['options'] : [])], one)
    }
    for (const one of found?.warnings ?? []) warnings.push(`${rule.where}: ${one}`)
    completed.push({ ...rule, options })
  }
  return { rules: completed, warnings }
}

/** Every mistake goes to `wrong`. */
async function readSaid(
  { said = {} }: FileRule,
  spec: RuleSpec | undefined,
  base: Base,
  path: string,
  wrong: string[],
  call: Call,
): Promise<Readonly<Record<string, unknown>>> {
  const known = Object.keys(spec?.options ?? {})
  for (const key of Object.keys(said)) if (!known.includes(key)) wrong.push(unknownKey(key, known))
  const values: Record<string, unknown> = {}
  for (const [name, option] of Object.entries(spec?.options ?? {})) {
    const own = Object.hasOwn(said, name) ? { [name]: said[name] } : {}
    const file: ConfigSection = { path, values: own, label: key => key }
    try {
      const read = await readOptions({ [name]: option }, { ...base, given: [], file }, call.signal)
      values[name] = read.values[name]
    } catch (error) {
      wrong.push(PosternError.from(error).message)
    }
  }
  return values
}

function unknownKey(key: string, known: readonly string[]): string {
  const meant = nearest(key, known)
  return `${nameOf(key)} is not an option of a rule${meant ? `; did you mean ${meant}?` : `; there are ${known.join(', ')}`}`
}
