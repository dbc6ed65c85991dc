export { type AuthClientKit, authClientCases, authClientCompliance } from './auth/client.ts'
export { authCases, authCompliance } from './auth/edge.ts'
export type { AuthKit } from './auth/edge-rig.ts'
export type { PurposeName } from './auth/presenting.ts'
export { type Case, type Framework, register, runCase } from './case.ts'
export { type Certificate, type TestAuthority, testAuthority } from './certificates.ts'
export {
  APPLICATION,
  type FakeClientHost,
  type FakeEdgeHost,
  fakeClientHost,
  fakeEdgeHost,
  fakeOriginHost,
} from './hosts.ts'
export { MemoryEnd, memoryPair, type PairOptions } from './memory-pair.ts'
export { type OriginScript, openOrigin, type TestOrigin } from './origin.ts'
export { type PluginKit, pluginCases, pluginCompliance } from './plugin/plugin.ts'
export { protocolClientCases, protocolClientCompliance } from './protocol/client.ts'
export type { ProtocolClientKit, Way } from './protocol/client-rig.ts'
export { protocolOriginCases, protocolOriginCompliance } from './protocol/origin.ts'
export type { ProtocolOriginKit } from './protocol/origin-rig.ts'
export { type ProtocolRequestsKit, protocolRequestsCases, protocolRequestsCompliance } from './protocol/requests.ts'
export { type ProtocolRulesKit, protocolRulesCases, protocolRulesCompliance } from './protocol/rules.ts'
export { everythingSaid, type LogLine, type RecordingLog, recordingLog } from './recording.ts'
export { leftOpen, type Resources, resources } from './resources.ts'
export type { TransportKit } from './transport/rig.ts'
export { transportCases, transportCompliance } from './transport/transport.ts'
