import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { startJoined } from '../world/joined.ts'
import { echoThenTail, startOrigin } from '../world/origin.ts'

const APP = 'db.localhost'

describe('a start of postern access', () => {
  it('loads ws where websocket is used, and not where tls is, by name or by itself', async () => {
    await using origin = await startOrigin(echoThenTail)
    await using world = await startJoined({ apps: { [APP]: { service: `tcp://127.0.0.1:${origin.port}` } } })
    const loaded = join(world.folder, 'loaded.json')
    const watch = join(world.folder, 'watch.cjs')
    writeFileSync(
      watch,
      `process.on('exit', () => require('fs').writeFileSync(${JSON.stringify(loaded)}, JSON.stringify(Object.keys(require.cache))))`,
    )
    const hasWs = async (...more: readonly string[]) => {
      const access = world.tcp(APP, more, { env: { NODE_OPTIONS: `--require ${watch}` } })
      access.child.stdin?.end()
      expect(await access.exit).toBe(0)
      const files = (JSON.parse(readFileSync(loaded, 'utf8')) as string[]).filter(file => file.endsWith('.cjs'))
      return files.some(file => /class WebSocket\b/.test(readFileSync(file, 'utf8')))
    }
    expect(await hasWs('--transport', 'websocket')).toBe(true)
    expect(await hasWs('--transport', 'tls')).toBe(false)
    expect(await hasWs()).toBe(false)
  }, 60_000)
})
