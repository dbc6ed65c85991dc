export { type Clock, systemClock } from './clock.ts'
export { cutStream } from './cut.ts'
export { backoff, type KeepConnectedOptions, keepConnected, type Retry } from './keep-connected.ts'
export { type PumpOptions, type PumpResult, pump } from './pump.ts'
