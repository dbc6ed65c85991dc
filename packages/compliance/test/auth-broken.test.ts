import { describe, it } from 'vitest'
import { BROKEN_AUTH } from './broken/auth.ts'
import { mustFail } from './expect-failure.ts'

describe('a credential that', () => {
  for (const broken of BROKEN_AUTH) it(`${broken.fault} fails "${broken.fails}"`, () => mustFail(broken))
})
