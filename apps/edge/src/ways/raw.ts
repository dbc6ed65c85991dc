import type { Incoming } from '@postern/interface'
import { cut } from '@postern/pump'
import type { AccessAdmission } from '../authorize/authorize.ts'
import { refusalOf, type WayContext } from './context.ts'
import { carry, openToDaemon } from './stream.ts'

/**
 * Milliseconds the service has to finish once a foreign client closed: what it still sends goes nowhere, but a RST right
 * behind our FIN could take from it what it has not read yet.
 */
const FINISH_TIME = 30_000

/**
 * A foreign client's upgrade: one TCP connection. The daemon is asked first, so that what goes wrong there is an HTTP status
 * instead of a connection that opens and closes. Resolves when it is over.
 */
export async function serveRaw(incoming: Incoming, admission: AccessAdmission, context: WayContext): Promise<void> {
  const { live, log } = context
  const stop = new AbortController()
  const signal = AbortSignal.any([context.signal, stop.signal])
  const forget = live.keepAccess(admission, reason => stop.abort(reason))
  let timer: NodeJS.Timeout | undefined
  try {
    const daemon = await openToDaemon(admission, context, { log, signal }).catch(async (error: unknown) => {
      await incoming.reject(refusalOf(error, admission.requestId))
    })
    if (daemon === undefined) return
    const pipe = await incoming.accept({ 'postern-request-id': admission.requestId }).catch((error: unknown) => {
      cut(daemon, error as Error)
      throw error
    })
    pipe.once('end', () => {
      timer = setTimeout(() => stop.abort(new Error('the client closed and the service went on')), FINISH_TIME)
    })
    await carry(pipe, daemon, admission, context, signal)
  } finally {
    clearTimeout(timer)
    forget()
  }
}
