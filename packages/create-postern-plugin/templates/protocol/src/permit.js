// What a rule may permit: `permit: { "my-plugin": … }`. The edge reads it when a rule is saved, the daemon for every connection:
// both with this one function.

/**
 * @param {import('@postern/interface').Json} permit what stands below `my-plugin`; null where the rule says nothing about it
 * @returns {{ wrong: string[] }} what is wrong with it, a sentence each
 */
export function readPermit(permit) {
  return { wrong: permit === null ? [] : ['my-plugin has nothing that a rule could permit: leave it out'] }
}
