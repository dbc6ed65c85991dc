import { describe, it } from 'vitest'
import { transportCompliance } from '../src/index.ts'
import { referenceTransport } from './good/transport.ts'

transportCompliance({ describe, it, ...referenceTransport() })
