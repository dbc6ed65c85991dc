import { runProgram } from '@postern/program'
import { posternd } from './posternd.ts'

/** Settles when the program is over. Its caller waits for it: a program that hangs without anything to wait for then ends with 13, not 0. */
export const over: Promise<void> = runProgram('posternd', posternd, new URL('../package.json', import.meta.url))
