#!/usr/bin/env node
// Plain JavaScript for any Node, so that an old one is told so in one line instead of failing on syntax.
if (Number(process.versions.node.split('.')[0]) < 24) {
  process.stderr.write(
    `postern-edge: this is Node.js ${process.versions.node}; Postern needs 24 or newer (NODE_TOO_OLD)\n`,
  )
  process.exit(6)
}
// What is read and sent on is garbage at once. V8 lets its young generation grow to 64 MiB: held small, that is freed sooner. And it walks
// the whole heap whenever that is a bit larger than it was: not below these megabytes, somewhat more than what is there
// (docs/decisions/0027). It reads its flags once, at start, so this process starts itself again.
const flags = ['--max-semi-space-size=2', '--initial-old-space-size=32']
const given = [...process.execArgv, process.env.NODE_OPTIONS ?? ''].join(' ')
const missing = flags.filter(flag => !given.includes(flag.split('=')[0]))
if (missing.length > 0 && process.platform !== 'win32')
  process.execve(process.execPath, [process.execPath, ...missing, ...process.execArgv, ...process.argv.slice(1)])
const { over } = await import('../dist/main.cjs')
await over
