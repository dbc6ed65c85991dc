// `npm run bench -- NAME [options]`: a report of how fast something is, beside something everybody has. It fails no build.
import { certificates } from './certificates/certificates.ts'
import { http } from './http/http.ts'
import { quick } from './quick/quick.ts'

const BENCHES: Readonly<Record<string, (argv: readonly string[]) => Promise<void>>> = { certificates, http, quick }

const [name = '', ...argv] = process.argv.slice(2)
const bench = Object.hasOwn(BENCHES, name) ? BENCHES[name] : undefined
try {
  if (!bench) throw new Error(`${name === '' ? '' : `no "${name}"; `}there are: ${Object.keys(BENCHES).join(', ')}`)
  await bench(argv)
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : error}`)
  process.exitCode = 1
}
