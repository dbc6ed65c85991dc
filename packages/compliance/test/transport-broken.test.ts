import { afterAll } from 'vitest'
import { BROKEN_TRANSPORTS, clearLeaks } from './broken/transport.ts'
import { allMustFail } from './expect-failure.ts'

afterAll(clearLeaks)

allMustFail('a transport that', BROKEN_TRANSPORTS)
