export { cut, type Pumped, type PumpOptions, pump, type Room } from '@postern/pump'
export { type Clock, systemClock } from './clock.ts'
export { type About, WIRE_VERSION } from './control.ts'
export type { StreamHeader, StreamPurpose } from './header.ts'
export { backoff, type KeepConnectedOptions, keepConnected, type Retry } from './keep-connected.ts'
export {
  DEFAULT_LIMITS,
  MAX_ABOUT,
  MAX_CONTROL_LINE,
  MAX_CONTROL_QUEUE,
  MAX_HEADER,
  MAX_MESSAGES,
  type TunnelLimits,
} from './limits.ts'
export { Memory } from './memory.ts'
export type {
  ComingMessage,
  DeclineMessage,
  GrantKeysMessage,
  HostMessage,
  JoinCutMessage,
  JoinMessage,
  NoteMessage,
  ReportMessage,
} from './messages.ts'
export { fitDetail, fitWord } from './notes.ts'
export { ownedAs, ownedBy, ownedByItself } from './owned.ts'
export { reasonOf } from './reasons.ts'
export { type Place, SHARE_LIMITS, type ShareLimits, Shares, type Whose } from './shares.ts'
export {
  type Beginning,
  beginTunnel,
  type OfferedTunnelStream,
  type StreamBudget,
  startTunnel,
  type Tunnel,
  type TunnelOptions,
} from './tunnel.ts'
