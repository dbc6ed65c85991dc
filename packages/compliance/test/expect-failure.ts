import assert from 'node:assert/strict'
import { inspect } from 'node:util'
import { describe, it } from 'vitest'
import { type Case, runCase } from '../src/index.ts'

/** A broken plugin, and the case that must notice. */
export interface Broken {
  readonly fault: string
  readonly cases: readonly Case[]
  readonly fails: string
  /** What the failure says. */
  readonly saying: RegExp
}

/** Runs the one case: it must fail, by the kit's own words. */
export async function mustFail({ cases, fails, saying }: Broken): Promise<void> {
  const found = cases.find(each => each.name === fails)
  assert.ok(found, `there is no case "${fails}"`)
  const failure = await runCase({ ...found, deadline: 15_000 }).then(
    () => undefined,
    (error: unknown) => inspect(error),
  )
  assert.ok(failure, `"${fails}" passed, and should have failed`)
  assert.match(failure, saying)
}

/** These look at the whole process, and must have it for themselves. */
const ALONE = /secrets|left open|holds the|nothing else/

/** A test each. Most broken plugins fail by a wait that is over, so several wait at once. */
export function allMustFail(title: string, all: readonly Broken[]): void {
  describe(title, () => {
    for (const broken of all) {
      const alone = ALONE.test(broken.fails)
      it(`${broken.fault} fails "${broken.fails}"`, { concurrent: !alone }, () => mustFail(broken))
    }
  })
}
