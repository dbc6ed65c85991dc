import { createHash } from 'node:crypto'
import { describe, it } from 'node:test'
import { authCompliance, pluginCompliance } from '@postern/compliance'
import client from '../src/client.js'
import edge from '../src/edge.js'

const key = 'the-key-of-the-build-server'

pluginCompliance({ describe, it, package: new URL('../package.json', import.meta.url) })
authCompliance({
  describe,
  it,
  client,
  edge,
  clientOptions: { key },
  wrong: { key: 'the-key-of-somebody-else' },
  edgeOptions: { keys: `build:${createHash('sha256').update(key).digest('hex')}` },
})
