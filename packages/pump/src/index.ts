export { cut } from './cut.ts'
export { joinHalves } from './halves.ts'
export { type Pumped, type PumpOptions, pump } from './pump.ts'
