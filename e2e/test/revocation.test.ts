import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CAUSES, kindsOf } from '../world/causes.ts'
import { temporaryFolder } from '../world/folder.ts'
import { KINDS, type Kind } from '../world/open-things.ts'
import { Revocations } from '../world/revocation.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const hasSsh = ['ssh', 'sshd'].every(name => peers.includes(name))
const kinds = KINDS.filter(kind => kind !== 'ssh' || hasSsh)

/** Milliseconds. */
const WITHIN = 5000

/** What is opened for each way: every kind once without SSH's own programs, which are slow to start, where another has had them. */
const ROUNDS: readonly (readonly [cause: string, kinds: readonly Kind[], seed: number])[] = [
  ['person disabled', ['http', 'websocket', 'events', 'tcp', 'ssh'], 1],
  ['rule added', ['websocket', 'events'], 2],
  ['session, by id', ['http', 'websocket', 'events'], 3],
  ['all sessions of a person', ['http', 'events'], 4],
  ['out of the person’s group', ['http', 'websocket'], 5],
  ['group of selectors changed', ['events', 'websocket'], 6],
  ['application deleted', ['http', 'websocket', 'events'], 7],
  ['service token revoked', ['http', 'websocket', 'tcp'], 8],
  ['signing key removed', ['websocket', 'events'], 9],
  ['session expired', ['http', 'websocket', 'events'], 10],
  ['signed out by command', ['tcp'], 11],
  ['signed out on the page', ['http', 'websocket'], 12],
  ['signed out of one application', ['http', 'events'], 13],
]

describe('rows 67, 68, 33: whoever is put out is out within seconds, whatever they have open', {
  timeout: 60_000,
}, () => {
  const folder = temporaryFolder()
  let world: Revocations

  beforeAll(async () => {
    world = await Revocations.start(hasSsh ? folder.path : undefined)
    await world.openBystanders(kinds)
  })
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]()
    folder[Symbol.dispose]()
  })

  it('every way is tried', () => {
    expect(ROUNDS.map(([cause]) => cause).sort()).toEqual(Object.keys(CAUSES).sort())
  })

  it.each(ROUNDS)('%s: %j; others’ go on', async (cause, wanted, seed) => {
    const own = wanted.filter(kind => kinds.includes(kind) && kindsOf(cause).includes(kind))
    const cuts = await world.putOut(
      cause,
      own.map((kind, n) => ({ kind, isBusy: ((seed >> (n % 4)) & 1) === 1 })),
    )
    expect(cuts.map(({ kind }) => kind)).toEqual(own)
    for (const { kind, ms, how, why } of cuts) {
      expect(ms, `${kind}: ${how}`).toBeLessThan(WITHIN)
      expect(how, kind).toMatch(LOOKS[kind])
      if (kind !== 'http') expect(why).toMatch(/^the (credential|session|policy|application) /)
    }
    await world.untouched()
  })
})

/** What it looks like to who is cut: never like an end of its own. */
const LOOKS: Readonly<Record<Kind, RegExp>> = {
  http: /^(30[23]|40[134]) \w+$/,
  websocket: /^1008 the /,
  events: /^(cut|aborted)$/,
  tcp: /^ECONNRESET$/,
  ssh: /^exit 255$/,
}
