import type { Call } from '@postern/interface'
import { findCommand, parseCommandLine, renderHelp, resolvePending } from '@postern/options'
import { PROGRAM_FLAGS, type Program } from '@postern/program'
import { ADMIN_TOKEN } from './admin-token.ts'
import { APPLICATION } from './application.ts'
import { APPLY, EXPORT, OPENAPI } from './apply.ts'
import { AUDIT } from './audit.ts'
import { type AdminCommand, group } from './command.ts'
import { LOGIN, LOGOUT, STATUS, WHOAMI } from './login.ts'
import { POLICY } from './policy.ts'
import { SERVICE_TOKEN } from './service-token.ts'
import { SETTINGS } from './settings.ts'
import { TUNNEL } from './tunnel.ts'

const TREE = group('Administer an edge', {
  tunnel: TUNNEL,
  admin: group('Administer an edge: applications, policies, tokens, audit', {
    login: LOGIN,
    logout: LOGOUT,
    whoami: WHOAMI,
    status: STATUS,
    app: APPLICATION,
    policy: POLICY,
    'service-token': SERVICE_TOKEN,
    token: ADMIN_TOKEN,
    audit: AUDIT,
    settings: SETTINGS,
    apply: APPLY,
    export: EXPORT,
    openapi: OPENAPI,
  }),
})

const HELP = { help: PROGRAM_FLAGS.help }

/** `postern tunnel …` and `postern admin …`, clients of the edge's administration API. @param argv with that first word */
export async function administer(argv: readonly string[], program: Program, call: Call): Promise<void> {
  const { command, path, rest } = findCommand<AdminCommand>(argv, TREE)
  const names = ['postern', ...path]
  if (command.run) return command.run(rest, names, program, call)
  resolvePending(parseCommandLine(rest, HELP), [], { own: HELP }) // whatever else was meant, it was not this page
  program.print(
    renderHelp({
      usage: `${names.join(' ')} COMMAND [options]`,
      summary: `${command.summary}.`,
      commands: command.commands ?? {},
      sections: [{ title: 'Options', specs: HELP }],
    }),
  )
}
