#!/usr/bin/env node
// Plain JavaScript for any Node, so that an old one is told so in one line instead of failing on syntax.
if (Number(process.versions.node.split('.')[0]) < 24) {
  process.stderr.write(
    `postern-edge: this is Node.js ${process.versions.node}; Postern needs 24 or newer (NODE_TOO_OLD)\n`,
  )
  process.exit(6)
}
// V8 lets the young generation grow to 64 MiB. Who carries bytes gains nothing by it: held small, what was read and sent on is freed
// sooner (2 GiB of bodies: a third of the growth, half of the daemon's CPU). V8 reads the flag once, at start, so this process
// starts itself again.
const young = '--max-semi-space-size'
const given = [...process.execArgv, process.env.NODE_OPTIONS ?? ''].join(' ').includes(young)
if (!given && process.platform !== 'win32')
  process.execve(process.execPath, [process.execPath, `${young}=2`, ...process.execArgv, ...process.argv.slice(1)])
const { over } = await import('../dist/main.cjs')
await over
