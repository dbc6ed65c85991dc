/** The word that was probably meant: at most a third of its letters (and never more than three) away, or undefined. */
export function nearest(word: string, words: Iterable<string>): string | undefined {
  let best: string | undefined
  let fewest = Math.min(3, Math.max(1, Math.floor(word.length / 3))) + 1
  for (const candidate of words) {
    const distance = editDistance(word, candidate, fewest)
    if (distance < fewest) [best, fewest] = [candidate, distance]
  }
  return best
}

/**
 * Insertions, deletions, replacements and swapped neighbours that turn one word into the other (optimal string alignment).
 * Words longer than 64 letters, or further apart in length than `limit`, count as infinitely far: words come from outside.
 */
export function editDistance(a: string, b: string, limit: number = Number.POSITIVE_INFINITY): number {
  if (a.length > 64 || b.length > 64 || Math.abs(a.length - b.length) > limit) return Number.POSITIVE_INFINITY
  let before: number[] = []
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (same ? 0 : 1))
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      if (swapped) next[j] = Math.min(next[j]!, before[j - 2]! + 1)
    }
    before = row
    row = next
  }
  return row[b.length]!
}
