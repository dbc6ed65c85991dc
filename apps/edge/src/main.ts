import { runProgram } from '@postern/program'
import { posternEdge } from './postern-edge.ts'

/** Settles when the program is over. Its caller waits for it: a program that hangs without anything to wait for then ends with 13, not 0. */
export const over: Promise<void> = runProgram('postern-edge', posternEdge, new URL('../package.json', import.meta.url))
