export { YamuxError, type YamuxErrorCode } from './errors.ts'
export type { YamuxOptions } from './options.ts'
export { type YamuxClosed, YamuxSession } from './session.ts'
export { YamuxStream } from './stream.ts'
