// What a rule may permit: `permit: { redis: { commands: ["GET", "PING"] } }`. The edge reads it when a rule is saved, the daemon
// for every connection: both with this one function.

/** Commands that do not answer once each. Where they were let through, nobody could tell whose turn it is to answer. */
const NEVER =
  'SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE MONITOR SYNC PSYNC REPLCONF CLIENT HELLO'.split(
    ' ',
  )

/**
 * @param {import('@postern/interface').Json} permit what stands below `redis`; null where the rule says nothing about it
 * @returns {{ commands: ReadonlySet<string> | undefined, wrong: string[] }} the commands in capital letters, undefined for all of
 *   them; and what is wrong with the permit, a sentence each
 */
export function readPermit(permit) {
  if (permit === null) return { commands: undefined, wrong: [] }
  const { commands, ...others } = /** @type {Record<string, unknown>} */ (typeof permit === 'object' ? permit : {})
  const wrong = Object.keys(others).map(key => `there is no ${shown(key)}, only "commands"`)
  const names = Array.isArray(commands) ? commands : []
  if (names.length === 0) wrong.push('it is to be { "commands": ["GET", …] }, with one command at least')
  for (const name of names) {
    if (typeof name !== 'string' || !/^[a-z][a-z0-9._-]{0,63}$/i.test(name)) wrong.push(`${shown(name)} is no command`)
    else if (NEVER.includes(name.toUpperCase())) wrong.push(`${name} cannot be permitted: it does not answer once`)
  }
  return { commands: new Set(wrong.length > 0 ? [] : names.map(name => name.toUpperCase())), wrong }
}

/** @param {unknown} value */
function shown(value) {
  return (JSON.stringify(value) ?? 'nothing').slice(0, 40)
}
