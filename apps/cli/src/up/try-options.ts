import { type Call, factsOf, PosternError } from '@postern/interface'
import { type HostOptionSpec, nearest, readOptions, type SecretReader } from '@postern/options'
import type { Program } from '@postern/program'
import type { Registry } from '@postern/registry'
import { APPLICATION_FLAGS, withoutFile } from '../flags.ts'
import { readPin } from '../pins.ts'
import type { Mistake, Plan, Planned } from './plan.ts'

/** What values are tried with: the file alone, no variable and no flag. */
interface Trial {
  readonly registry: Registry
  readonly program: Program
  readonly secrets: SecretReader
}

/** What is wrong with the values of a plan whose keys are known, each as its own spec wants it. No other file is read. */
export async function tryOptions({ forwards }: Plan, trial: Trial, call: Call): Promise<readonly Mistake[]> {
  const found = new Map<string, Mistake>() // what is said for all is wrong once
  for (const planned of forwards)
    for (const key of Object.keys(planned.section.values)) {
      const mistake = await tryOne(planned, key, trial, call)
      if (mistake) found.set(mistake.message, mistake)
    }
  return [...found.values()]
}

async function tryOne(planned: Planned, key: string, trial: Trial, call: Call): Promise<Mistake | undefined> {
  const { section } = planned
  const label = section.label?.(key) ?? key
  try {
    const spec = await specOf(key, planned, trial.registry, call)
    if (!spec)
      return {
        message: `${label} is no option of what this forward uses`,
        next: 'Leave it out, or name its plugin with auth.',
      }
    const { program, secrets } = trial
    const file = { ...section, values: { [key]: section.values[key] }, otherKeys: [] }
    const sources = { given: [], env: {}, file, cwd: program.cwd, secrets, redactor: program.redactor }
    const { values } = await readOptions({ [key]: spec }, sources, call.signal)
    if (key === 'pin') readPin(String(values.pin), label)
    if (key === 'auth' || key === 'transport') refuseAbsent(key, section.values[key], label, trial.registry)
    return undefined
  } catch (thrown) {
    call.signal.throwIfAborted()
    const { code, message, next } = PosternError.from(thrown)
    if (code === 'FILE_UNSAFE') throw thrown
    return next === factsOf(code).next ? { message } : { message, next } // what a flag is advised is none in a file
  }
}

/** Of what the key means in this forward; of a secret’s file, the path. */
async function specOf(
  key: string,
  planned: Planned,
  registry: Registry,
  call: Call,
): Promise<HostOptionSpec | undefined> {
  const own: HostOptionSpec | undefined = (APPLICATION_FLAGS as Readonly<Record<string, HostOptionSpec>>)[key]
  if (own) return own
  const auth = list(planned.section.values.auth)
  const isUsed = (kind: string, name: string) =>
    kind === 'protocol' ? name === planned.protocol : kind !== 'auth' || auth.length === 0 || auth.includes(name)
  for (const option of [key, withoutFile(key)])
    for (const { kind, name, side } of registry.ownersOf(option)) {
      if (side !== 'client' || !isUsed(kind, name)) continue
      const { options } = await registry.load(kind as 'auth', name, 'client', call)
      const { required: _there, ...spec } = options[option] ?? { type: 'string' as const, summary: '' }
      if (option === key) return spec
      if (spec.type === 'secret') return { type: 'path', summary: spec.summary }
    }
  return undefined
}

/** @throws PosternError OPTION_INVALID */
function refuseAbsent(kind: 'auth' | 'transport', value: unknown, label: string, registry: Registry): void {
  const names = registry.names(kind, 'client')
  const all = kind === 'transport' ? ['auto', ...names] : names
  const unknown = list(value).find(name => !all.includes(name))
  if (unknown === undefined) return
  const meant = nearest(unknown, all)
  throw new PosternError('OPTION_INVALID', `${label} is ${JSON.stringify(unknown.slice(0, 40))}, which there is not`, {
    next: meant ? `Did you mean ${meant}?` : `There are: ${all.join(', ')}.`,
  })
}

function list(value: unknown): readonly string[] {
  return (Array.isArray(value) ? value : value === undefined ? [] : [value]).map(String)
}
