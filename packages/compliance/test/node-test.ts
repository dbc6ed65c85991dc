// The same ten lines under node:test; started by node-test.test.ts.
import { describe, it } from 'node:test'
import { authCompliance } from '../src/index.ts'
import { client, edge, SEEDED } from './good/auth.ts'

authCompliance({ describe, it, client, edge, ...SEEDED })
