import { setFlagsFromString } from 'node:v8'

const FLAG = 'external-memory-accounted-in-global-limit'

/**
 * Has V8 reckon with the bytes that buffers hold, as it does by itself from 14.8 on. Before, it walks the whole heap after every few
 * megabytes that were read, whether anybody holds them or not: see docs/decisions/0027. To be called before there is much in the heap; a
 * flag that was given stays.
 */
export function countHeldBuffers(): void {
  const isGiven = process.execArgv.some(word => word.includes(FLAG)) // Node.js takes it nowhere else
  if (knowsFlag(process.versions.v8) && !isGiven) setFlagsFromString(`--${FLAG}`)
}

/** V8 13.6 is that of Node.js 24; from 14.8 on, the flag is gone. */
function knowsFlag(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major === 13 ? minor >= 6 : major === 14 && minor < 8
}
