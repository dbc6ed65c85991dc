import { PosternError } from '@postern/interface'
import type * as prom from 'prom-client'
import type { Registry } from 'prom-client'
import type { Page } from './health.ts'
import type { DaemonObserver, ObservedStream } from './observer.ts'
import { Traffic } from './traffic.ts'

type Library = typeof prom

/** What stands for every hostname that no rule has: a label must not be a stranger’s to choose. */
const OTHER = 'other'

/** From the same machine to another continent, and the deadline of `reach` above it. Seconds. */
const CONNECT_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** Prometheus’s own default is 10 ms, which wakes an idle machine a hundred times a second. */
const LOOP_PRECISION_MS = 100

export interface Metrics {
  /** Counts what the daemon that it is handed to does. */
  readonly observer: DaemonObserver
  /** Connections to the edge that take streams now; none after a stop was asked for. */
  readonly connections: number
  /** Prometheus text 0.0.4. */
  render(): Promise<Page>
}

/**
 * What one daemon does, counted in a registry of its own: nothing is global, so two daemons in one process do not count each
 * other.
 *
 * @param version of posternd
 */
export async function createMetrics(version: string): Promise<Metrics> {
  const library: Library = await import('prom-client')
  const { collectDefaultMetrics, Gauge, Registry } = library
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: LOOP_PRECISION_MS })
  new Gauge({
    name: 'posternd_build_info',
    help: 'Always 1: its labels say which posternd this is, and on which Node.js.',
    labelNames: ['version', 'node'],
    registers,
  }).set({ version, node: process.versions.node }, 1)
  const state = { up: 0, stopping: false }
  return {
    observer: {
      ...observeEdge(library, registry, state),
      ...observeStreams(library, registry),
      ...observeReloads(library, registry),
    },
    get connections() {
      return state.stopping ? 0 : state.up
    },
    render: async () => ({ type: registry.contentType, text: await registry.metrics() }),
  }
}

function observeEdge(
  { Counter, Gauge }: Library,
  registry: Registry,
  state: { up: number; stopping: boolean },
): DaemonObserver {
  const registers = [registry]
  new Gauge({
    name: 'posternd_edge_connections',
    help: 'Connections to the edge that are up and not drained by it.',
    registers,
    collect() {
      this.set(state.up)
    },
  })
  new Gauge({
    name: 'posternd_draining',
    help: '1 after a stop was asked for: no new streams, the open ones may finish.',
    registers,
    collect() {
      this.set(state.stopping ? 1 : 0)
    },
  })
  const attempts = new Counter({
    name: 'posternd_edge_connection_attempts_total',
    help: 'Times the edge was dialled.',
    registers,
  })
  const failures = new Counter({
    name: 'posternd_edge_connection_failures_total',
    help: 'Dials that came to nothing, by error code.',
    labelNames: ['code'],
    registers,
  })
  const reconnects = new Counter({
    name: 'posternd_edge_reconnects_total',
    help: 'Connections to the edge that were up, ended, and are up again.',
    registers,
  })
  const dialled = new Set<number>()
  const known = new Set<number>()
  return {
    onDial: ({ index }) => {
      attempts.inc()
      dialled.add(index)
    },
    // It is told after the end of a connection as well, which is no failure of a dial.
    onRetry: ({ index }, error) => {
      if (dialled.delete(index)) failures.inc({ code: PosternError.from(error).code })
    },
    onConnected: ({ index }) => {
      state.up++
      dialled.delete(index)
      if (known.has(index)) reconnects.inc()
      known.add(index)
    },
    onDisconnected: () => {
      state.up--
    },
    onStopping: () => {
      state.stopping = true
    },
  }
}

function observeStreams({ Counter, Gauge, Histogram }: Library, registry: Registry): DaemonObserver {
  const registers = [registry]
  const labelNames = ['hostname'] as const
  const opened = new Counter({
    name: 'posternd_streams_total',
    help: 'Streams that the edge opened, by the hostname of their ingress rule.',
    labelNames,
    registers,
  })
  const open = new Gauge({ name: 'posternd_streams_open', help: 'Streams open now.', labelNames, registers })
  const failed = new Counter({
    name: 'posternd_stream_failures_total',
    help: 'Streams that were refused or cut, by error code.',
    labelNames: ['hostname', 'code'],
    registers,
  })
  const latency = new Histogram({
    name: 'posternd_service_connect_seconds',
    help: 'How long services took to answer a connection.',
    labelNames,
    buckets: CONNECT_BUCKETS,
    registers,
  })
  const requests = new Counter({
    name: 'posternd_requests_total',
    help: 'HTTP requests that are over, by the hostname of their ingress rule and the class of the answered status.',
    labelNames: ['hostname', 'status'],
    registers,
  })
  const unanswered = new Counter({
    name: 'posternd_request_failures_total',
    help: 'HTTP requests that the daemon refused, or whose answer broke off, by error code.',
    labelNames: ['hostname', 'code'],
    registers,
  })
  const traffic = new Traffic()
  const bytes = (direction: 'sent' | 'received', help: string) =>
    new Counter({
      name: `posternd_service_${direction}_bytes_total`,
      help,
      labelNames,
      registers,
      collect() {
        for (const [hostname, count] of traffic.take(direction)) this.inc({ hostname }, count)
      },
    })
  bytes('sent', 'Bytes that went to services.')
  bytes('received', 'Bytes that came from services.')
  return {
    onStream: stream => {
      opened.inc({ hostname: labelOf(stream) })
      open.inc({ hostname: labelOf(stream) })
    },
    onStreamEnd: (stream, { code }) => {
      open.dec({ hostname: labelOf(stream) })
      if (code) failed.inc({ hostname: labelOf(stream), code })
    },
    onRequest: (request, { status, code }) => {
      const hostname = labelOf(request)
      requests.inc({ hostname, status: status === undefined ? 'none' : `${Math.floor(status / 100)}xx` })
      if (code) unanswered.inc({ hostname, code })
    },
    onService: (stream, socket, milliseconds) => {
      latency.observe({ hostname: labelOf(stream) }, milliseconds / 1000)
      traffic.watch(labelOf(stream), socket)
    },
  }
}

/** The rule’s own words, which are few. What a stranger asked for would be as many labels as he likes. */
function labelOf({ rule }: ObservedStream): string {
  return rule ?? OTHER
}

function observeReloads({ Counter, Gauge }: Library, registry: Registry): DaemonObserver {
  const registers = [registry]
  const reloads = new Counter({
    name: 'posternd_config_reloads_total',
    help: 'Times the config file was read again, by result: ok, or failed and the old one serves on.',
    labelNames: ['result'],
    registers,
  })
  const last = new Gauge({
    name: 'posternd_config_last_reload_timestamp_seconds',
    help: 'When a config file was last taken; at first the start.',
    registers,
  })
  for (const result of ['ok', 'failed']) reloads.inc({ result }, 0) // so that an alert on the first failure can see it rise
  last.setToCurrentTime()
  return {
    onReload: error => {
      reloads.inc({ result: error ? 'failed' : 'ok' })
      if (!error) last.setToCurrentTime()
    },
  }
}
