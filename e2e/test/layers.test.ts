import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { checkLayers } from '../../scripts/layers.ts'
import { temporaryFolder } from '../world/folder.ts'

const script = join(import.meta.dirname, '../../scripts/layers.ts')

/** A small tree with one import in it. */
function treeWith(file: string, line: string): ReturnType<typeof temporaryFolder> {
  const folder = temporaryFolder()
  mkdirSync(dirname(join(folder.path, file)), { recursive: true })
  writeFileSync(join(folder.path, file), `${line}\n`)
  return folder
}

describe('the import rule', () => {
  it.each([
    ['packages/interface/src/a.ts', "import { x } from '@postern/tunnel'", 'points up'],
    ['packages/yamux/src/a.ts', "import { x } from '@postern/client'", 'points up'],
    [
      'packages/tunnel/src/a.ts',
      "export { default } from '@postern/transport-websocket/client'",
      'may not import the plugin',
    ],
    ['packages/client/src/a.ts', "const x = await import('@postern/edge')", 'may not import the plugin or app'],
    ['plugins/protocol-tcp/src/a.ts', "import x from '@postern/protocol-ssh/client'", 'may not import the plugin'],
    ['plugins/protocol-tcp/src/a.ts', "import x from '@postern/store'", 'a plugin may import'],
    ['apps/cli/src/access.ts', "import x from '@postern/protocol-ssh/client'", 'may not import the plugin'],
    ['apps/cli/src/a.ts', "import x from '../../edge/src/edge.ts'", 'leaves the package'],
    ['packages/newcomer/src/a.ts', "import x from '@postern/interface'", 'has no layer'],
  ])('%s: %s is refused', (file, line, rule) => {
    using tree = treeWith(file, line)
    expect(checkLayers(tree.path)).toEqual([{ file, line: 1, rule: expect.stringContaining(rule) }])
  })

  it.each([
    ['packages/tunnel/src/a.ts', "import { x } from '@postern/yamux'"],
    ['plugins/protocol-tcp/src/a.ts', "import { x } from '@postern/interface'"],
    ['apps/cli/src/builtin.ts', "const x = () => import('@postern/protocol-ssh/client')"],
    ['packages/tunnel/src/a.ts', "import { x } from './b.ts'"],
  ])('%s: %s is fine', (file, line) => {
    using tree = treeWith(file, line)
    expect(checkLayers(tree.path)).toEqual([])
  })

  it('is a command that names the line and fails, and passes on this repository', () => {
    using tree = treeWith('packages/interface/src/a.ts', "\nimport { x } from '@postern/tunnel'")
    const bad = spawnSync(process.execPath, [script, tree.path], { encoding: 'utf8' })
    expect([bad.status, bad.stderr]).toEqual([
      1,
      expect.stringContaining('packages/interface/src/a.ts:2: @postern/tunnel points up'),
    ])
    execFileSync(process.execPath, [script])
  })
})
