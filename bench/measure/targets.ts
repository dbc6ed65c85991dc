import type { Metric } from './metrics.ts'
import { METRICS } from './metrics.ts'
import type { Ratios } from './table.ts'

/** What is aimed at. */
interface Target {
  readonly metric: Metric
  /** A ratio to this peer; without one, a figure by itself. */
  readonly against?: string
  /** At least this where more is better, at most where less is. */
  readonly aim: number
  /** Which of Postern's ways, if not the fast one. */
  readonly of?: string
}

export interface Judged extends Target {
  readonly of: string
  readonly reached?: number
  readonly verdict: 'met' | 'missed' | 'not measured'
}

const [SSH, GCM, YAMUX] = ['ssh', 'ssh-aes128-gcm', 'go-yamux']
const bulk = (against: string, aim: number, of?: string): Target[] =>
  (['down', 'up'] as const).map(metric => ({ metric, against, aim, ...(of && { of }) }))

export const TARGETS: readonly Target[] = [
  ...bulk(SSH, 1.5),
  ...bulk(GCM, 1),
  ...bulk(YAMUX, 1.3),
  { metric: 'cpu', against: 'haproxy', aim: 1 },
  { metric: 'streams', against: SSH, aim: 2 },
  { metric: 'streams', against: YAMUX, aim: 1.25 },
  { metric: 'connections', against: SSH, aim: 5 },
  { metric: 'connections', against: YAMUX, aim: 1.5 },
  { metric: 'connections', against: 'nginx', aim: 4 },
  { metric: 'first-byte', against: SSH, aim: 1 / 40 },
  { metric: 'first-byte', against: YAMUX, aim: 0.9 },
  { metric: 'requests', against: SSH, aim: 2.7 },
  { metric: 'requests', against: YAMUX, aim: 1.8 },
  { metric: 'requests', against: 'nginx', aim: 1 },
  { metric: 'ping', against: SSH, aim: 0.9 },
  { metric: 'gap', against: SSH, aim: 1.2 },
  { metric: 'idle', aim: 10 },
  { metric: 'rss', aim: 140 },
  { metric: 'start', aim: 100 },
  ...bulk(SSH, 1, 'end-to-end/websocket'),
  ...bulk('end-to-end/websocket', 0.5, 'end-to-end/grpc'),
  ...bulk('hop/websocket', 0.5, 'hop/grpc'),
]

/** @param fast the way that the targets are about where they name none */
export function judgeTargets(
  fast: string,
  medians: (peer: string, metric: Metric) => number | undefined,
  ratios: Ratios,
): Judged[] {
  return TARGETS.map(target => {
    const of = target.of ?? fast
    const reached = target.against ? ratios[of]?.[target.against]?.[target.metric]?.median : medians(of, target.metric)
    if (reached === undefined || Number.isNaN(reached)) return { ...target, of, verdict: 'not measured' }
    const isMet = METRICS[target.metric].better === 'more' ? reached >= target.aim : reached <= target.aim
    return { ...target, of, reached, verdict: isMet ? 'met' : 'missed' }
  })
}
