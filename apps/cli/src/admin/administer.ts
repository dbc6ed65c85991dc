import type { Call } from '@postern/interface'
import type { Program } from '@postern/program'
import { ADMIN_TOKEN } from './admin-token.ts'
import { APPLICATION } from './application.ts'
import { APPLY, EXPORT, OPENAPI } from './apply.ts'
import { AUDIT } from './audit.ts'
import { CA } from './ca.ts'
import { CERTIFICATE } from './certificate.ts'
import { group } from './command.ts'
import { dispatch } from './dispatch.ts'
import { GROUP } from './group.ts'
import { KEY } from './key.ts'
import { LOGIN, LOGOUT, STATUS, WHOAMI } from './login.ts'
import { POLICY } from './policy.ts'
import { PROVIDER } from './provider.ts'
import { SERVICE_TOKEN } from './service-token.ts'
import { SESSION } from './session.ts'
import { SETTINGS } from './settings.ts'
import { TUNNEL } from './tunnel.ts'
import { USER } from './user.ts'

const TREE = group('Administer an edge', {
  tunnel: TUNNEL,
  admin: group('Administer an edge: applications, policies, people, tokens, audit', {
    login: LOGIN,
    logout: LOGOUT,
    whoami: WHOAMI,
    status: STATUS,
    app: APPLICATION,
    policy: POLICY,
    group: GROUP,
    user: USER,
    session: SESSION,
    provider: PROVIDER,
    'service-token': SERVICE_TOKEN,
    token: ADMIN_TOKEN,
    key: KEY,
    ca: CA,
    certificate: CERTIFICATE,
    audit: AUDIT,
    settings: SETTINGS,
    apply: APPLY,
    export: EXPORT,
    openapi: OPENAPI,
  }),
})

/** `postern tunnel …` and `postern admin …`, clients of the edge's administration API. @param argv with that first word */
export function administer(argv: readonly string[], program: Program, call: Call): Promise<void> {
  return dispatch(TREE, argv, program, call)
}
