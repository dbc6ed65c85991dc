import type { Socket } from 'node:net'
import type { HostMessage } from '@postern/tunnel'
import { kindOf } from './notes.ts'
import type { ObservedStream, StreamEnd } from './observer.ts'

/** What the edge is told of streams that it cannot see, for its audit log. */
export class JoinReports {
  readonly #tell: (message: HostMessage) => boolean
  #lost = 0

  /** @param tell whether it is on its way */
  constructor(tell: (message: HostMessage) => boolean) {
    this.#tell = tell
  }

  /** @param stream undefined: it was refused before anybody looked where it goes @param sockets those to the service */
  streamEnd(sid: string, end: StreamEnd, stream?: ObservedStream | undefined, sockets: readonly Socket[] = []): void {
    const sum = (of: 'bytesWritten' | 'bytesRead') => sockets.reduce((total, socket) => total + socket[of], 0)
    const lost = this.#lost
    const told = this.#tell({
      type: 'report',
      sid,
      event: 'stream.end',
      service: kindOf(stream?.service),
      up: sum('bytesWritten'),
      down: sum('bytesRead'),
      ms: Math.round(end.duration),
      ...(end.code && { code: end.code }),
      ...(lost > 0 && { lost }),
    })
    this.#lost = told ? 0 : lost + 1
  }
}
