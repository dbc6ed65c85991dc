import { duplexPair } from 'node:stream'
import type { Transport } from '@postern/interface'
import { DATA, RawSession, WINDOW, yamux } from './attacker.ts'

export interface OurHands {
  readonly transport: Transport
  /** Waits for so many connections. @returns that one, whose hello was answered @throws when there are not in time */
  edge(count: number, hello?: string): Promise<RawSession>
}

/** A transport whose other end is in a test's hands: an edge by hand. */
export function intoOurHands(answer: Record<string, readonly string[]> = {}): OurHands {
  const edges: RawSession[] = []
  const transport: Transport = {
    dial: async () => {
      const [pipe, ours] = duplexPair()
      edges.push(new RawSession(ours))
      return { pipe, answer }
    },
  }
  return {
    transport,
    async edge(count, hello = '{"v":1,"type":"hello"}') {
      for (const late = Date.now() + 15_000; edges.length < count; await new Promise(done => setTimeout(done, 20)))
        if (Date.now() > late) throw new Error(`only ${edges.length} connections came`)
      const session = edges[count - 1]
      if (!session) throw new Error('no connection came')
      await session.until(() => session.text(1).includes('hello'), 'hello')
      session.send(yamux(WINDOW, 2, 1), yamux(DATA, 0, 1, `${hello}\n`))
      return session
    },
  }
}
