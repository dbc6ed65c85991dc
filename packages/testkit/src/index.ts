export {
  everythingSaid,
  type LogLine,
  leftOpen,
  MemoryEnd,
  memoryPair,
  type OriginScript,
  openOrigin,
  type PairOptions,
  type RecordingLog,
  type Resources,
  recordingLog,
  resources,
  type TestOrigin,
} from '@postern/compliance'
export { type Authority, authority, type IssuedCertificate, type Subject } from './authority.ts'
export { type ClockTimer, type FakeClock, fakeClock } from './clock.ts'
export { certificateRequest, type ElsewhereAuthority, elsewhere, type ListFacts } from './elsewhere.ts'
export { type Answer, type MemoryEdge, memoryEdge } from './memory-edge.ts'
export { type MemoryTransport, memoryTransport } from './memory-transport.ts'
