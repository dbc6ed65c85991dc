// `npm run bench [-- NAME] [options]`: a report of how fast something is, beside something everybody has. It fails no build.
import { certificates } from './certificates/certificates.ts'
import { http } from './http/http.ts'
import { compare } from './measure/command.ts'

const BENCHES: Readonly<Record<string, (argv: readonly string[]) => Promise<void>>> = {
  certificates,
  http,
  quick: argv => compare('quick', argv),
  transports: argv => compare('transports', argv),
}

const argv = process.argv.slice(2)
const [name = ''] = argv
try {
  if (name === '' || name.startsWith('-')) await compare('bench', argv)
  else if (Object.hasOwn(BENCHES, name)) await BENCHES[name]?.(argv.slice(1))
  else throw new Error(`no "${name}"; there are: ${Object.keys(BENCHES).join(', ')}, and the whole without a name`)
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : error}`)
  process.exitCode = 1
}
