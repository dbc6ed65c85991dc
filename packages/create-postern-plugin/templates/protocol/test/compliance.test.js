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
protocolOriginCompliance({ describe, it, origin, service: new URL('my-plugin://localhost:1') })
protocolRulesCompliance({ describe, it, edge, good: [null], bad: [{}, { everything: true }] })
