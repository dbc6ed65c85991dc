import { describe, it } from 'node:test'
import {
  pluginCompliance,
  protocolClientCompliance,
  protocolOriginCompliance,
  protocolRulesCompliance,
} from '@postern/compliance'
import client from '../src/client.js'
import edge from '../src/edge.js'
import origin from '../src/origin.js'

pluginCompliance({ describe, it, package: new URL('../package.json', import.meta.url) })
protocolClientCompliance({ describe, it, client })
// Without a permit it passes bytes on as they are, and can be held to everything that such a protocol must keep.
protocolOriginCompliance({ describe, it, origin, service: new URL('redis://localhost:6379') })
protocolRulesCompliance({
  describe,
  it,
  edge,
  good: [null, { commands: ['GET', 'PING'] }, { commands: ['get'] }],
  bad: [
    {},
    { commands: [] },
    { commands: 'GET' },
    { commands: ['GET', 7] },
    { comands: ['GET'] },
    { commands: ['HELLO'] },
  ],
})
