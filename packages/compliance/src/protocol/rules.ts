import assert from 'node:assert/strict'
import type { Json, OptionSpecs, Options, Plugin } from '@postern/interface'
import { type Case, type Framework, register, testCase } from '../case.ts'
import { fakeEdgeHost } from '../hosts.ts'
import { withDefaults } from '../options.ts'

export interface ProtocolRulesKit<O extends OptionSpecs> extends Framework {
  readonly edge: Plugin<'protocol', 'edge', O>
  readonly edgeOptions?: Partial<Options<O>>
  /** Permits that may be saved, and that may not. */
  readonly good: readonly Json[]
  readonly bad: readonly Json[]
}

/** Every case for a protocol's edge side: the check of what a rule permits. */
export function protocolRulesCases<O extends OptionSpecs>(
  kit: Omit<ProtocolRulesKit<O>, keyof Framework>,
): readonly Case[] {
  const check = async (permit: Json): Promise<readonly string[]> => {
    const rules = await kit.edge.create(withDefaults(kit.edge.options, kit.edgeOptions), fakeEdgeHost())
    const said = rules.check(permit)
    assert.ok(Array.isArray(said), 'check() returns a list of sentences')
    for (const sentence of said) assert.ok(typeof sentence === 'string' && sentence.length > 0, 'a sentence each')
    await rules[Symbol.asyncDispose]?.()
    return said
  }
  return [
    testCase('finds nothing wrong with what is right', async () => {
      for (const permit of kit.good) assert.deepEqual(await check(permit), [], JSON.stringify(permit))
    }),
    testCase('says what is wrong with what is wrong', async () => {
      for (const permit of kit.bad) assert.notDeepEqual(await check(permit), [], JSON.stringify(permit))
    }),
    testCase('never throws, and leaves the permit as it was', async () => {
      for (const permit of [...kit.good, ...kit.bad, ...HOSTILE]) {
        const before = structuredClone(permit)
        await check(permit)
        assert.deepEqual(permit, before)
      }
    }),
  ]
}

/** Registers {@link protocolRulesCases} with a test framework. */
export function protocolRulesCompliance<O extends OptionSpecs>(kit: ProtocolRulesKit<O>): void {
  register(kit, `protocol ${kit.edge.name} (edge side) keeps its contract`, protocolRulesCases(kit))
}

const HOSTILE: readonly Json[] = [
  null,
  true,
  0,
  '',
  [],
  [null],
  JSON.parse('{"__proto__":{"x":1},"constructor":null}'),
  { deep: JSON.parse('['.repeat(500) + ']'.repeat(500)) },
  'x'.repeat(1_000_000),
]
