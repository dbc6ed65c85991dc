#!/usr/bin/env node
// Plain JavaScript for any Node, so that an old one is told so in one line instead of failing on syntax.
if (Number(process.versions.node.split('.')[0]) < 24) {
  process.stderr.write(`postern: this is Node.js ${process.versions.node}; Postern needs 24 or newer (NODE_TOO_OLD)\n`)
  process.exit(6)
}
const { over } = await import('../dist/main.cjs')
await over
