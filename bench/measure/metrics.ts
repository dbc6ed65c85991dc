import type { MetricFacts } from '../report.ts'

/** What is measured: how it is called, in which unit, and which way is better. README.md says how. */
export const METRICS = {
  down: { title: 'bulk down, one stream', unit: 'MB/s', better: 'more' },
  up: { title: 'bulk up, one stream', unit: 'MB/s', better: 'more' },
  cpu: { title: 'processor time of all processes', unit: 's/GB', better: 'less' },
  streams: { title: '100 streams down', unit: 'MB/s', better: 'more' },
  fairness: { title: 'of 100 streams, least : most', unit: '', better: 'more' },
  connections: { title: 'new connections, 16 at once', unit: '/s', better: 'more' },
  'first-byte': { title: 'connect → first byte, one at a time', unit: 'µs', better: 'less' },
  requests: { title: 'requests and answers, 64 at once', unit: '/s', better: 'more' },
  ping: { title: 'ping, one after the other: half', unit: 'µs', better: 'less' },
  ping99: { title: 'ping, one after the other: 99 of 100', unit: 'µs', better: 'less' },
  gap: { title: 'ping every 2 ms: half', unit: 'µs', better: 'less' },
  gap99: { title: 'ping every 2 ms: 99 of 100', unit: 'µs', better: 'less' },
  start: { title: 'start of the command → first byte', unit: 'ms', better: 'less' },
  idle: { title: 'memory of an idle connection (PSS)', unit: 'KB', better: 'less' },
  rss: { title: 'memory of fresh processes (RSS)', unit: 'MB', better: 'less' },
  pss: { title: 'memory of fresh processes (PSS)', unit: 'MB', better: 'less' },
} as const satisfies Readonly<Record<string, MetricFacts>>

export type Metric = keyof typeof METRICS
export const NAMES: readonly Metric[] = Object.keys(METRICS) as Metric[]

/** What is looked at over a network that is slow and loses packets. */
export const NETWORK_NAMES: readonly Metric[] = ['down', 'up', 'first-byte', 'ping', 'ping99', 'start']
