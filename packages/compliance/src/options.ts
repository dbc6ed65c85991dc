import type { OptionSpecs, Options } from '@postern/interface'

/** The values a host would hand to `create`: what was given, and the declared defaults for the rest. */
export function withDefaults<O extends OptionSpecs>(specs: O, given: Partial<Options<O>> = {}): Options<O> {
  const values: Record<string, unknown> = {}
  for (const [name, spec] of Object.entries(specs)) {
    const value = (given as Record<string, unknown>)[name] ?? spec.default
    if (value === undefined && spec.required) throw new Error(`the option ${name} is required: give the kit a value`)
    values[name] = value
  }
  return values as Options<O>
}

/** The values of the options declared `secret`: they must never be seen again. */
export function secretsOf<O extends OptionSpecs>(specs: O, values: Options<O>): readonly string[] {
  return Object.entries(specs)
    .filter(([, spec]) => spec.type === 'secret')
    .map(([name]) => (values as Record<string, unknown>)[name])
    .filter((value): value is string => typeof value === 'string' && value.length > 0)
}
