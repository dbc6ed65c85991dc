import type { Duplex } from 'node:stream'
import { problem } from '@postern/interface'
import {
  type Memory,
  type OfferedTunnelStream,
  ownedBy,
  ownedByItself,
  Shares,
  type StreamHeader,
  type Whose,
} from '@postern/tunnel'
import type { FailureLog } from './failure-log.ts'

/**
 * Streams that the edge opens, each for one visitor: the edge has decided how many there may be. What waits for their readers counts by
 * visitor and by application, and visitors take turns on the way back.
 */
export class Hops {
  readonly #shares = new Shares('daemon')
  readonly #memory: Memory
  readonly #failures: FailureLog

  constructor(memory: Memory, failures: FailureLog) {
    this.#memory = memory
    this.#failures = failures
  }

  /** Never rejects, unless `serve` does. */
  async take(offered: OfferedTunnelStream, serve: (placed: OfferedTunnelStream) => Promise<void>): Promise<void> {
    const whose = whoseOf(offered.header)
    if (this.#memory.isFull(this.#shares.behind(whose.visitor))) return this.#refuse(offered)
    const { room, release } = this.#shares.enter(whose)
    await serve(marked(offered, stream => ownedBy(stream, room))).finally(release)
  }

  /** The same for a stream of several visitors’ requests: the edge has counted each. */
  async takeWeb(offered: OfferedTunnelStream, serve: (placed: OfferedTunnelStream) => Promise<void>): Promise<void> {
    if (this.#memory.isFull(0)) this.#refuse(offered)
    else await serve(marked(offered, ownedByItself))
  }

  #refuse(offered: OfferedTunnelStream): void {
    const { hostname, requestId } = offered.header
    const code = 'LIMIT_EXCEEDED'
    const why = 'the daemon holds as much as it may for slow readers'
    this.#failures.warn({ hostname: undefined, code }, `refused a stream: ${why}`, { hostname, requestId })
    offered.reject(problem(code, requestId, { speaker: 'daemon', detail: why }))
  }
}

function marked(offered: OfferedTunnelStream, mark: (stream: Duplex) => void): OfferedTunnelStream {
  const accept = (): Duplex => {
    const stream = offered.accept()
    mark(stream)
    return stream
  }
  const { header, gone } = offered
  return { header, gone, accept, reject: refusal => offered.reject(refusal) }
}

/** Who is anonymous is one with all who are, of that application. */
function whoseOf({ hostname, identities = [] }: StreamHeader): Whose {
  const known = identities.map(({ issuer, subject }) => `${issuer} ${subject}`).join(', ')
  return { visitor: known || `\0${hostname}`, application: hostname }
}
