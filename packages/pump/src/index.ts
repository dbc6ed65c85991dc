export { bridge } from './bridge.ts'
export { cut } from './cut.ts'
export { type Pumped, type PumpOptions, pump } from './pump.ts'
