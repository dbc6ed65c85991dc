import { BROKEN_PROTOCOLS } from './broken/protocol.ts'
import { allMustFail } from './expect-failure.ts'

allMustFail('a protocol that', BROKEN_PROTOCOLS)
