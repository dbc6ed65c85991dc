import { describe, it } from 'vitest'
import { protocolClientCompliance } from '../src/protocol/client.ts'
import { client } from './good/protocol.ts'

protocolClientCompliance({ describe, it, client })
