import type { LookupAddress } from 'node:dns'
import { isIP, type LookupFunction, connect as netConnect, type Socket } from 'node:net'
import { type Opening, opened } from './opened.ts'

/** Milliseconds that an address is waited for before the next is tried beside it: RFC 8305 §5. */
const HEAD_START = 250

export interface RaceTo {
  /** A name, or an address. */
  readonly host: string
  readonly port: number
  readonly lookup: LookupFunction
}

/**
 * TCP to whichever address of a name answers first: happy eyeballs (RFC 8305). Node's own gives an address up when it is the next one's
 * turn, so that who is far away is never reached where another address is dead.
 *
 * @throws what `opening` makes of the first address's failure, or of the name's; `signal.reason`
 */
export async function connectFirst(to: RaceTo, opening: Opening, signal: AbortSignal): Promise<Socket> {
  const began = performance.now()
  const addresses = inTurns(await resolved(to, opening, signal))
  const over = new AbortController()
  const losing = AbortSignal.any([signal, over.signal])
  let before: Promise<unknown> | undefined
  const attempts = addresses.map(({ address }, at) => {
    const attempt = itsTurn(before, at * HEAD_START, losing).then(async () => {
      const deadline = Math.max(1, opening.deadline - (performance.now() - began))
      const where = { host: address, port: to.port, noDelay: true, keepAlive: true, allowHalfOpen: true }
      const socket = await opened(netConnect(where), { ...opening, deadline }, losing)
      if (over.signal.aborted) {
        socket.destroy()
        throw new Error('another address was first')
      }
      over.abort()
      return socket
    })
    before = attempt
    return attempt
  })
  try {
    return await Promise.any(attempts)
  } catch (error) {
    signal.throwIfAborted()
    throw error instanceof AggregateError ? error.errors[0] : error
  } finally {
    over.abort()
  }
}

/** After the one before has failed, or all have had their head start. */
async function itsTurn(before: Promise<unknown> | undefined, ms: number, signal: AbortSignal): Promise<void> {
  if (before === undefined) return
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const onAbort = () => reject(signal.reason)
  const timer = setTimeout(resolve, ms)
  before.catch(() => resolve())
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort)
  try {
    await promise
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', onAbort)
  }
}

/** The families by turns, as RFC 8305 §4 has it, each in the resolver's order. */
function inTurns(found: readonly LookupAddress[]): readonly LookupAddress[] {
  const first = found.filter(({ family }) => family === found[0]?.family)
  const other = found.filter(({ family }) => family !== found[0]?.family)
  return Array.from({ length: Math.max(first.length, other.length) }, (_, at) =>
    [first[at], other[at]].filter(one => one !== undefined),
  ).flat()
}

function resolved({ host, lookup }: RaceTo, { deadline, late, failed }: Opening, signal: AbortSignal) {
  const family = isIP(host)
  if (family !== 0) return Promise.resolve([{ address: host, family }])
  const { promise, resolve, reject } = Promise.withResolvers<readonly LookupAddress[]>()
  const timer = setTimeout(() => reject(late()), deadline)
  const onAbort = () => reject(signal.reason)
  signal.addEventListener('abort', onAbort)
  lookup(host, { all: true }, (error, found) => {
    if (error) reject(failed(error))
    else if (found.length === 0) reject(failed(Object.assign(new Error('no address'), { code: 'ENOTFOUND' })))
    else resolve(typeof found === 'string' ? [{ address: found, family: isIP(found) }] : found)
  })
  return promise.finally(() => {
    clearTimeout(timer)
    signal.removeEventListener('abort', onAbort)
  })
}
