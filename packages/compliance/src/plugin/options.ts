import assert from 'node:assert/strict'
import type { OptionSpec, OptionSpecs } from '@postern/interface'

const NAME = /^[a-z][a-zA-Z0-9]{0,63}$/
const FLAG = /^[a-z][a-z0-9-]{0,63}$/
const VARIABLE = /^[A-Z][A-Z0-9_]*$/

const DEFAULT_OF: Readonly<Record<OptionSpec['type'], 'string' | 'number' | 'boolean' | undefined>> = {
  string: 'string',
  // What is written into a program is no secret.
  secret: undefined,
  path: 'string',
  url: 'string',
  number: 'number',
  boolean: 'boolean',
  duration: 'number',
}

/** Every option must be one that a host can make a flag, a variable and a line of help of. */
export function optionsCanBe(options: OptionSpecs): void {
  for (const [name, spec] of Object.entries(options)) {
    assert.match(name, NAME, 'an option is named in camelCase')
    assert.ok(Object.hasOwn(DEFAULT_OF, spec.type), `${name}: no type of option: ${spec.type}`)
    assert.ok(typeof spec.summary === 'string' && spec.summary.length > 0, `${name}: a summary is for the help text`)
    if (spec.default !== undefined) {
      assert.equal(spec.required, undefined, `${name}: what has a default is not required`)
      const wanted = DEFAULT_OF[spec.type]
      // A duration may also be written as the user would write it.
      const written = spec.type === 'duration' && /^\d+(ms|s|m|h|d)$/.test(String(spec.default))
      assert.ok(written || typeof spec.default === wanted, `${name}: a ${spec.type} cannot have this default`)
    }
    for (const variable of spec.env ?? []) assert.match(variable, VARIABLE, `${name}: no environment variable`)
    for (const alias of spec.aliases ?? []) assert.match(alias, FLAG, `${name}: no other name of a flag`)
  }
}
