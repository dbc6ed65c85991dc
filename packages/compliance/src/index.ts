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
export { everythingSaid, type LogLine, type RecordingLog, recordingLog } from './recording.ts'
export { leftOpen, type Resources, resources } from './resources.ts'
export type { TransportKit } from './transport/rig.ts'
export { transportCases, transportCompliance } from './transport/transport.ts'
