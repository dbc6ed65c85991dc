import { afterAll, describe, it } from 'vitest'
import { BROKEN_TRANSPORTS, clearLeaks } from './broken/transport.ts'
import { mustFail } from './expect-failure.ts'

afterAll(clearLeaks)

describe('a transport that', () => {
  for (const broken of BROKEN_TRANSPORTS) it(`${broken.fault} fails "${broken.fails}"`, () => mustFail(broken))
})
