export type { Administration, NewApplication, Seed, ShownToken } from './admin/administration.ts'
export { checkEdge, type EdgeConfig, initialiseEdge, type RunningEdge, startEdge } from './edge.ts'
export type { FrontLimits } from './front/limits.ts'
