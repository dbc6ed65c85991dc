import { pluginCompliance, protocolRequestsCompliance } from '@postern/compliance'
import { describe, it } from 'vitest'
import origin from '../src/origin.ts'

pluginCompliance({ describe, it, package: new URL('../package.json', import.meta.url) })
protocolRequestsCompliance({ describe, it, origin })
