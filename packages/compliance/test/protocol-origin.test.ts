import { describe, it } from 'vitest'
import { protocolOriginCompliance } from '../src/protocol/origin.ts'
import { origin } from './good/protocol.ts'

protocolOriginCompliance({ describe, it, origin })
