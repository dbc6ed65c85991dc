export {
  type Access,
  type AccessChange,
  type Applied,
  access,
  type WantedApplication,
  type WantedChange,
} from './access.ts'
export { type Mistake, mistakesIn } from './mistakes.ts'
export { openApi } from './openapi.ts'
export { type Answer, BASE, type Checked, type Input, MOST_ROWS, ROUTES, type Route, type RouteName } from './routes.ts'
export type {
  AdminToken,
  Application,
  AuditRow,
  Connector,
  ServiceToken,
  ShownAdminToken,
  ShownServiceToken,
  ShownTunnelToken,
  Status,
  Tunnel,
  Whoami,
} from './things.ts'
export type { Role } from './words.ts'
