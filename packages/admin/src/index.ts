export {
  type Access,
  type AccessChange,
  type ApplicationOptions,
  type Applied,
  access,
  type WantedApplication,
  type WantedChange,
} from './access.ts'
export type { Answer, Checked, Input, RouteName } from './calls.ts'
export type { Authority, Certificate, IssuedCertificate, SubjectName } from './certificates.ts'
export type { EnrolledConnector, ShownConnector, ShownConnectorSetup, SigningRequest } from './connectors.ts'
export { type Mistake, mistakesIn } from './mistakes.ts'
export { openApi } from './openapi.ts'
export type { InvitedUser, Provider, Session, SigningKey, User, WantedSessions } from './people.ts'
export { BASE, type Route } from './route.ts'
export { MOST_ROWS, ROUTES } from './routes.ts'
export type {
  AdminToken,
  Application,
  AuditRow,
  Connector,
  Group,
  ServiceToken,
  Settings,
  ShownAdminToken,
  ShownServiceToken,
  ShownTunnelToken,
  Status,
  Tunnel,
  Whoami,
} from './things.ts'
export type { Role } from './words.ts'
