import { spawn } from 'node:child_process'
import { once } from 'node:events'

export interface Imported {
  /** What keeps the process alive after the import and did not before. */
  readonly left: readonly string[]
  /** Names that were not global before. */
  readonly globals: readonly string[]
  /** Whatever it wrote to stdout or stderr. */
  readonly printed: string
}

const MARK = 'postern-compliance:'

const SCRIPT = `
const names = () => Object.getOwnPropertyNames(globalThis)
const count = () => process.getActiveResourcesInfo()
const settle = () => new Promise(resolve => setImmediate(resolve))
process.stdout.write('')
await settle()
const [before, known] = [count(), new Set(names())]
await import(process.argv[1])
await settle()
const left = count()
for (const kind of before) if (left.includes(kind)) left.splice(left.indexOf(kind), 1)
const globals = names().filter(name => !known.has(name))
process.stdout.write(${JSON.stringify(MARK)} + JSON.stringify({ left, globals }) + '\\n', () => process.exit())
`

/** Imports a module in a process of its own, and looks what that did. */
export async function importing(module: URL, signal: AbortSignal): Promise<Imported> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', SCRIPT, module.href], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH ?? '' },
    signal,
  })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', more => (text += more))
  const [code] = (await once(child, 'close')) as [number | null]
  const at = text.indexOf(MARK)
  if (code !== 0 || at < 0) throw new Error(`${module.pathname} cannot be imported: ${text.slice(0, 2_000)}`)
  const end = text.indexOf('\n', at)
  const { left, globals } = JSON.parse(text.slice(at + MARK.length, end)) as Pick<Imported, 'left' | 'globals'>
  return { left, globals, printed: text.slice(0, at) + text.slice(end + 1) }
}
