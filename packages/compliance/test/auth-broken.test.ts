import { BROKEN_AUTH } from './broken/auth.ts'
import { allMustFail } from './expect-failure.ts'

allMustFail('a credential that', BROKEN_AUTH)
