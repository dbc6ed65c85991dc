// `npm run commands`: this checkout's programs as commands, for who types along with the README before anything is on npm.
// Prints the line that puts them on the PATH, and nothing else: eval "$(npm run --silent commands)"
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const root = dirname(import.meta.dirname)
const folder = join(root, '.tools', 'commands')
const PROGRAMS = {
  postern: 'apps/cli/bin/postern.js',
  posternd: 'apps/daemon/bin/posternd.js',
  'postern-edge': 'apps/edge/bin/postern-edge.js',
  'postern-dev': 'apps/dev/bin/postern-dev.js',
  'create-postern-plugin': 'packages/create-postern-plugin/bin/create-postern-plugin.js',
}

/** A word as a POSIX shell reads it. */
const quoted = (word: string) => `'${word.replaceAll("'", `'\\''`)}'`

mkdirSync(folder, { recursive: true })
for (const [name, script] of Object.entries(PROGRAMS)) {
  const file = join(folder, name)
  // The machine's own Node may be too old for them; this one is not.
  writeFileSync(file, `#!/bin/sh\nexec ${quoted(process.execPath)} ${quoted(join(root, script))} "$@"\n`, {
    mode: 0o755,
  })
}
console.log(`export PATH=${quoted(folder)}:"$PATH"`)
