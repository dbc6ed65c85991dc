import type { Call } from '@postern/interface'
import type { DaemonAbout } from './about.ts'
import { serveHealth } from './health.ts'
import { createMetrics } from './metrics.ts'
import type { DaemonObserver } from './observer.ts'

/** What a daemon is looked at with. Dispose of it after the daemon: until then it says that nothing is ready. */
export interface Monitor extends AsyncDisposable {
  readonly observer: DaemonObserver
}

/**
 * `--metrics ADDRESS:PORT`: listens before anything is dialled, so that a port that is taken is known at once.
 *
 * @throws PosternError OPTION_INVALID, LISTEN_FAILED
 */
export async function startMonitor(where: string, about: DaemonAbout, call: Call): Promise<Monitor> {
  const metrics = await createMetrics(about.version)
  const { observer, render } = metrics
  const connections = () => metrics.connections
  const health = await serveHealth({ where, connectorId: about.connector, connections, render }, call)
  call.log.info('metrics, readiness and health', { address: health.address })
  return { observer, [Symbol.asyncDispose]: () => health[Symbol.asyncDispose]() }
}
