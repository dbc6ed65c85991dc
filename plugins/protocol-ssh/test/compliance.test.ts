import { protocolClientCompliance, protocolOriginCompliance } from '@postern/compliance'
import { describe, it } from 'vitest'
import client from '../src/client.ts'
import origin from '../src/origin.ts'

protocolClientCompliance({ describe, it, client })
protocolOriginCompliance({ describe, it, origin, service: new URL('ssh://localhost') })
