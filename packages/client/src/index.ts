export { type Code, PosternError } from '@postern/interface'
export {
  type ApplicationClient,
  type ApplicationOptions,
  createApplicationClient,
  type SessionNews,
} from './application.ts'
export { type Client, type ClientOptions, createClient, type EndToEndWanted, type OpenOptions } from './client.ts'
export { lookup, type Trust } from './connect.ts'
export { dialEdge, type EdgeDial } from './dial.ts'
export { type HostAndPort, isLoopbackName, readHostname } from './hostname.ts'
export type { EndToEnd, Pins } from './join.ts'
export type { Lent } from './lent.ts'
export { errnoOf, type Opening, opened } from './opened.ts'
export { isPassing } from './passing.ts'
export { connectFirst, type RaceTo } from './race.ts'
export type { ClientSocket } from './socket.ts'
export { type NamedTransport, Transports } from './transports.ts'
export {
  type AuthPart,
  type ClientPlugin,
  type GivenOptions,
  type OneOrMore,
  type TransportPart,
  type Used,
  use,
} from './use.ts'
export { untilAborted } from './waiting.ts'
