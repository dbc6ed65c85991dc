import { runProgram } from '@postern/program'
import { posternd } from './posternd.ts'

await runProgram('posternd', posternd, new URL('../package.json', import.meta.url))
