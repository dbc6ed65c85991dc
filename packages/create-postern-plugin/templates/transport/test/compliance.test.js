import { describe, it } from 'node:test'
import { pluginCompliance, transportCompliance } from '@postern/compliance'
import client from '../src/client.js'
import edge from '../src/edge.js'

pluginCompliance({ describe, it, package: new URL('../package.json', import.meta.url) })
transportCompliance({ describe, it, client, edge })
