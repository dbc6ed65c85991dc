import assert from 'node:assert/strict'
import { inspect } from 'node:util'
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
