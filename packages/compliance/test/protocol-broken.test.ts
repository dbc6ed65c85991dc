import { describe, it } from 'vitest'
import { BROKEN_PROTOCOLS } from './broken/protocol.ts'
import { mustFail } from './expect-failure.ts'

describe('a protocol that', () => {
  for (const broken of BROKEN_PROTOCOLS) it(`${broken.fault} fails "${broken.fails}"`, () => mustFail(broken))
})
