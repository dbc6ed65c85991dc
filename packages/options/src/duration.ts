const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/**
 * `500ms`, `30s`, `5m`, `2h`, `7d`, also together from large to small (`1h30m`), in milliseconds.
 *
 * @returns undefined when it is none, and above 2^53 - 1 ms
 */
export function parseDuration(text: string): number | undefined {
  const parts = /^(?:(\d{1,15})d)?(?:(\d{1,15})h)?(?:(\d{1,15})m)?(?:(\d{1,15})s)?(?:(\d{1,15})ms)?$/.exec(text)
  if (text === '' || !parts) return undefined
  const [, d, h, m, s, ms] = parts.map(part => Number(part ?? 0))
  const total = d! * UNITS.d + h! * UNITS.h + m! * UNITS.m + s! * UNITS.s + ms! * UNITS.ms
  return Number.isSafeInteger(total) ? total : undefined
}

/** The shortest text that {@link parseDuration} reads back: 90000 → `90s`. */
export function formatDuration(ms: number): string {
  for (const unit of ['d', 'h', 'm', 's'] as const)
    if (ms !== 0 && ms % UNITS[unit] === 0) return `${ms / UNITS[unit]}${unit}`
  return `${ms}ms`
}
