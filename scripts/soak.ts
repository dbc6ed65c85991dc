// `npm run soak -- <name> [--size key=value …]`: the long form of a test at its stated size. What it reached is written to
// bench/results/<name>.json; a size without that file was not reached. `schedules` alone is `e2e-schedules`: over everything.
import { globSync, mkdirSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'

const root = dirname(import.meta.dirname)

interface Soak {
  readonly stated: Readonly<Record<string, number>>
  default(size: Readonly<Record<string, number>>): Promise<Record<string, number | string>>
}

const soaks = new Map(
  globSync(['{packages,plugins,apps}/*/soak/*.ts', '{e2e,bench}/soak/*.ts'], { cwd: root }).map(file => [
    nameOf(file),
    file,
  ]),
)
const [name, ...rest] = process.argv.slice(2)
const file = soaks.get(name ?? '') ?? soaks.get(`e2e-${name}`)
if (!file) {
  console.error(`soak: ${name ? `no "${name}"; ` : ''}there are: ${[...soaks.keys()].sort().join(', ')}`)
  process.exit(2)
}
const soak = (await import(join(root, file))) as Soak
const asked = Object.fromEntries(
  rest
    .filter(word => word.includes('='))
    .map(word => word.split('='))
    .map(([key = '', value]) => [key, Number(value)]),
)
const size = { ...soak.stated, ...asked }
const began = Date.now()
console.error(`soak ${name}: ${JSON.stringify(size)}`)
const figures = await soak.default(size)
const full = nameOf(file)
const result = {
  soak: full,
  stated: soak.stated,
  size,
  reachedStatedSize: Object.entries(soak.stated).every(([key, value]) => (size[key] ?? 0) >= value || key === 'seed'),
  seconds: Math.round((Date.now() - began) / 1000),
  date: new Date().toISOString().slice(0, 10),
  node: process.version,
  ...figures,
}
console.log(JSON.stringify(result, null, 2))
if (Object.keys(asked).filter(key => key !== 'seed').length === 0) {
  mkdirSync(join(root, 'bench', 'results'), { recursive: true })
  writeFileSync(join(root, 'bench', 'results', `${full}.json`), `${JSON.stringify(result, null, 2)}\n`)
}

/** `packages/yamux/soak/fuzz.ts` is `yamux-fuzz`. */
function nameOf(path: string): string {
  const [group, folder] = path.split('/')
  return `${folder === 'soak' ? group : folder}-${basename(path, '.ts')}`
}
