import { runProgram } from '@postern/program'
import { posternEdge } from './postern-edge.ts'

await runProgram('postern-edge', posternEdge, new URL('../package.json', import.meta.url))
