import { transportCompliance } from '@postern/compliance'
import { describe, it } from 'vitest'
import client from '../src/client.ts'
import edge from '../src/edge.ts'

transportCompliance({ describe, it, client, edge })
