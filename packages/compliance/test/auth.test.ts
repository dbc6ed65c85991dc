import { describe, it } from 'vitest'
import { authCompliance } from '../src/index.ts'
import { client, edge, SEEDED } from './good/auth.ts'

authCompliance({ describe, it, client, edge, ...SEEDED })
