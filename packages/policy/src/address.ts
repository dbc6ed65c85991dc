/** An IP address as its 16-bit groups. IPv4 is written as IPv6 has it, `::ffff:a.b.c.d`, so that both spellings are one. */
export type Address = readonly number[]

export interface Range {
  readonly base: Address
  /** Leading bits that are compared, 0–128. */
  readonly bits: number
}

const IPV4_GROUPS: Address = [0, 0, 0, 0, 0, 0xffff]
const IPV4_BITS = 96

/**
 * Reads an address in its one canonical spelling: four decimal numbers without leading zeros, or RFC 5952. An IPv4 address inside
 * an IPv6 one is that IPv4 address.
 *
 * @returns undefined for everything else: octal, hexadecimal or missing parts, zones, ports, brackets
 */
export function readAddress(text: string): Address | undefined {
  if (text.length > 45) return undefined
  if (!text.includes(':')) return readIpv4(text)
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(text)?.[1]
  if (mapped !== undefined) return readIpv4(mapped)
  const groups = readIpv6(text)
  return groups !== undefined && showIpv6(groups) === text ? groups : undefined
}

/**
 * Reads `10.0.0.0/8`, `2001:db8::/32` or one address.
 *
 * @returns what is wrong with it, as the end of a sentence
 */
export function readRange(text: string): Range | string {
  const [address = '', length, ...more] = text.split('/')
  const base = readAddress(address)
  if (base === undefined || more.length > 0 || (address.includes(':') && isIpv4(base)))
    return 'is not an address or range in its usual spelling, such as 10.0.0.0/8 or 2001:db8::/32'
  const offset = isIpv4(base) ? IPV4_BITS : 0
  if (length === undefined) return { base, bits: 128 }
  if (!/^(0|[1-9]\d{0,2})$/.test(length) || offset + Number(length) > 128)
    return `has a length that is none: 0 to ${128 - offset}`
  const bits = offset + Number(length)
  if (base.some((group, at) => (group & ~maskOf(bits, at)) !== 0)) return 'has bits set behind its length'
  return { base, bits }
}

/** IPv4 lies in ranges of IPv4 only, and IPv6 in those of IPv6: `::/0` is not everybody. */
export function isIn({ base, bits }: Range, address: Address): boolean {
  if (isIpv4(base) !== isIpv4(address)) return false
  return base.every((group, at) => ((group ^ (address[at] ?? 0)) & maskOf(bits, at)) === 0)
}

function isIpv4(address: Address): boolean {
  return IPV4_GROUPS.every((group, at) => address[at] === group)
}

function maskOf(bits: number, group: number): number {
  const own = Math.min(16, Math.max(0, bits - group * 16))
  return (0xffff << (16 - own)) & 0xffff
}

function readIpv4(text: string): Address | undefined {
  const parts = text.split('.')
  if (parts.length !== 4 || !parts.every(part => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256))
    return undefined
  const [a = 0, b = 0, c = 0, d = 0] = parts.map(Number)
  return [...IPV4_GROUPS, a * 256 + b, c * 256 + d]
}

function readIpv6(text: string): Address | undefined {
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const [head = [], tail = []] = halves.map(half => (half === '' ? [] : half.split(':')))
  const missing = 8 - head.length - tail.length
  if (halves.length === 2 ? missing < 2 : missing !== 0) return undefined
  if (![...head, ...tail].every(group => /^[0-9a-f]{1,4}$/.test(group))) return undefined
  const numbers = (groups: readonly string[]) => groups.map(group => Number.parseInt(group, 16))
  return [...numbers(head), ...Array<number>(Math.max(0, missing)).fill(0), ...numbers(tail)]
}

/** RFC 5952: the longest run of zeros, the first of several, as `::`. */
function showIpv6(groups: Address): string {
  const text = groups.map(group => group.toString(16)).join(':')
  const runs = text.match(/\b0(?::0)+\b/g) ?? []
  const longest = runs.reduce((best, run) => (run.length > best.length ? run : best), '')
  if (longest === '') return text
  const at = runAt(text, longest)
  return `${text.slice(0, at).replace(/:$/, '')}::${text.slice(at + longest.length).replace(/^:/, '')}`
}

function runAt(text: string, run: string): number {
  return new RegExp(`\\b${run}\\b`).exec(text)?.index ?? 0
}
