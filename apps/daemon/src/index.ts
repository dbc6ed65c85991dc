export { builtins } from './builtin.ts'
export { CONNECTIONS, type DaemonConfig, type RunningDaemon, startDaemon } from './daemon.ts'
export { type IngressRule, readRule, showService } from './ingress.ts'
export type { ServedRule } from './serve.ts'
