import type { HostOptionSpecs } from '@postern/options'
import { PLUGIN_FLAGS, PROGRAM_FLAGS } from '@postern/program'
import { CONNECTIONS } from './connections.ts'

/** The one rule of `posternd --hostname H --url U`. */
export const RULE_FLAGS = {
  hostname: {
    type: 'string',
    required: true,
    summary: 'the application’s hostname',
    env: ['POSTERN_HOSTNAME', 'TUNNEL_HOSTNAME'],
  },
  url: {
    type: 'string',
    required: true,
    summary: 'the service behind it, for example ssh://localhost:22',
    env: ['POSTERN_URL', 'TUNNEL_URL'],
  },
  mode: {
    type: 'string',
    default: 'any',
    summary: 'who may be at the other end: the client alone (end-to-end), the edge for it (hop), or any',
    env: ['POSTERN_MODE'],
  },
} as const satisfies HostOptionSpecs

/** How a daemon runs, whatever it serves. Each may stand in a config file as well. */
export const RUN_FLAGS = {
  edge: {
    type: 'url',
    required: true,
    summary: 'where the edge listens, for example https://edge.example.com',
    env: ['POSTERN_EDGE', 'TUNNEL_EDGE'],
  },
  ca: {
    type: 'path',
    summary: 'PEM file of the CA to trust for the edge, instead of the system’s',
    env: ['POSTERN_CA', 'TUNNEL_CACERT'],
  },
  credentials: {
    type: 'path',
    summary: 'what posternd login left (default: connector.json in this user’s folder, if it is there)',
    env: ['POSTERN_CREDENTIALS'],
  },
  auth: { type: 'string', multiple: true, summary: 'how to sign in (default tunnel-token)', env: ['POSTERN_AUTH'] },
  ...PLUGIN_FLAGS,
  connections: {
    type: 'number',
    default: CONNECTIONS,
    summary: 'connections kept to the edge, 1 to 16',
    env: ['POSTERN_CONNECTIONS'],
  },
  gracePeriod: {
    type: 'duration',
    default: '30s',
    summary: 'how long open streams may go on after a stop',
    env: ['POSTERN_GRACE_PERIOD', 'TUNNEL_GRACE_PERIOD'],
  },
  metrics: {
    type: 'string',
    summary: 'address for /metrics, /ready and /healthz, for example 127.0.0.1:20241',
    env: ['POSTERN_METRICS', 'TUNNEL_METRICS'],
  },
  ...PROGRAM_FLAGS,
} as const satisfies HostOptionSpecs

/** Which file says what to run. Nothing is searched. */
export const CONFIG_FLAGS = {
  config: {
    type: 'path',
    required: true,
    summary: 'the config file, YAML or JSON',
    env: ['POSTERN_CONFIG', 'TUNNEL_CONFIG'],
  },
} as const satisfies HostOptionSpecs
