import { Administration } from './admin/administration.ts'
import { forgetSetupFile } from './admin/setup.ts'
import { Turns } from './admin/turns.ts'
import { AdminRoom } from './admin-page/room.ts'
import { AuthorizationServer } from './authorization-server/authorization-server.ts'
import { protectedResource } from './authorization-server/protected-resource.ts'
import { Enrolment } from './certificates/enrolment.ts'
import type { HttpContext } from './http/context.ts'
import { httpWay } from './http/way.ts'
import { jwksRoom } from './keys/jwks-room.ts'
import type { EdgeParts } from './parts.ts'
import { createSignIn } from './sign-in/create.ts'
import { Directory } from './sign-in/directory.ts'
import { Passwords } from './sign-in/passwords.ts'
import { SshAuthorities } from './ssh-certificates/authorities.ts'
import { SshCertificates } from './ssh-certificates/room.ts'
import { sendProblemPage } from './team/problem-page.ts'
import { TeamSite } from './team/site.ts'
import type { WayContext } from './ways/context.ts'

export interface Assembled {
  readonly directory: Directory
  readonly administration: Administration
  readonly authorization: AuthorizationServer
  readonly http: HttpContext
  readonly team: TeamSite
}

/**
 * Everything that answers people and programs over HTTP, made to know each other.
 *
 * @param address `host:port`, as listened on, once it is
 */
export function assemble(parts: EdgeParts, context: WayContext, address: () => string): Assembled {
  const { store, teamDomain, caFile, config, failures, origins, log } = parts
  const turns = new Turns()
  const forget = () => forgetSetupFile(config.data)
  const passwords = new Passwords(config.passwordCost)
  const directory = new Directory({ store, turns, issuer: () => origins.team, forgetSetupFile: forget, passwords })
  const signIn = createSignIn({ ...context, directory, failures, allowPrivate: config.allowPrivate ?? [] })
  const authorization = new AuthorizationServer({ ...context, signIn, failures })
  const authorities = new SshAuthorities({ store, seal: parts.seal, turns })
  const http = httpWay(context, {
    ...(config.http && { limits: config.http }),
    signIn,
    ownPaths: [
      signIn,
      protectedResource(origins),
      new SshCertificates(context, authorities),
      new Enrolment({ store, authorizer: context.authorizer, seal: parts.seal, turns, origins, log }),
    ],
    problemPage: sendProblemPage,
  })
  const administration = new Administration({
    store,
    teamDomain,
    ownCa: caFile !== undefined,
    address,
    routes: context.routes,
    sessions: {
      get size() {
        return context.tunnels.size + context.joins.size
      },
    },
    software: parts.software,
    people: parts.sessions,
    keys: parts.keys,
    grants: parts.grants,
    seal: parts.seal,
    protocols: parts.plugins.protocols,
    otherProtocols: parts.plugins.otherProtocols,
    plugins: () => parts.plugins.status(),
    origins,
    turns,
    forgetSetupFile: forget,
  })
  const adminRoom = new AdminRoom({ ...context, administration, signIn })
  const team = new TeamSite({ rooms: [jwksRoom(parts.keys), ...signIn.rooms, adminRoom, authorization], log })
  return { directory, administration, authorization, http, team }
}
