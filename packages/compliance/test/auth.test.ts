import { describe, it } from 'vitest'
import { authCompliance } from '../src/index.ts'
import { client, edge, SEEDED } from './good/auth.ts'
import { certificateKit } from './good/certificate.ts'

authCompliance({ describe, it, client, edge, ...SEEDED })
authCompliance({ describe, it, ...certificateKit() })
