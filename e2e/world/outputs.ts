import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'

/** What the programs that this process starts, and those that they start, show of themselves to everybody on the machine. */
export class ProcessWatch implements Disposable {
  readonly #seen = new Map<string, Set<string>>()
  readonly #timer: NodeJS.Timeout

  constructor() {
    this.#timer = setInterval(() => this.look(), 100)
  }

  /** Arguments and environments so far, by program. */
  get outputs(): ReadonlyMap<string, string> {
    return new Map([...this.#seen].map(([name, texts]) => [name, [...texts].join('\n')]))
  }

  look(): void {
    for (const pid of descendants(process.pid)) {
      const args = read(`/proc/${pid}/cmdline`)
      const [program = ''] = args.split('\0', 1)
      for (const [what, text] of [
        ['arguments', args],
        ['environment', read(`/proc/${pid}/environ`)],
      ] as const) {
        const name = `${what} of ${program.split('/').at(-1)}`
        this.#seen.set(name, (this.#seen.get(name) ?? new Set()).add(text))
      }
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }
}

function descendants(pid: number): readonly number[] {
  const children = readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .map(name => ({ pid: Number(name), parent: Number(/^\d+ \(.*\) \S (\d+)/s.exec(read(`/proc/${name}/stat`))?.[1]) }))
  const found: number[] = []
  for (let last = [pid]; last.length > 0; ) {
    last = children.filter(({ parent }) => last.includes(parent)).map(one => one.pid)
    found.push(...last)
  }
  return found
}

/** Empty when it is gone. */
function read(file: string): string {
  try {
    return readFileSync(file, 'latin1')
  } catch {
    return ''
  }
}

/** Every file below a folder, as it is: by its path, with its permissions. */
export function filesIn(
  folder: string,
): readonly { readonly path: string; readonly mode: number; readonly text: string }[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).flatMap(entry => {
    const file = join(entry.parentPath, entry.name)
    if (!entry.isFile()) return []
    return [{ path: relative(folder, file), mode: statSync(file).mode & 0o777, text: read(file) }]
  })
}
