import type { PipePurpose } from '@postern/interface'

// What pipe.proto says, as the code has it; a test compares the two.

export const SERVICE = 'postern.transport.v1.Pipe'

/** Methods by purpose. A foreign client's single connection, `raw`, does not come over gRPC. */
export const METHODS = {
  session: 'Session',
  connector: 'Connector',
  join: 'Join',
} as const satisfies Record<Exclude<PipePurpose, 'raw'>, string>

export type CallPurpose = keyof typeof METHODS

export function pathOf(purpose: CallPurpose): string {
  return `/${SERVICE}/${METHODS[purpose]}`
}

/** @returns undefined where the path names no method of the service */
export function purposeOf(path: string): CallPurpose | undefined {
  for (const purpose of Object.keys(METHODS) as CallPurpose[]) if (pathOf(purpose) === path) return purpose
  return undefined
}

/** Field numbers of a message. */
export const DATA = 1
export const END = 2

export const CONTENT_TYPE = 'application/grpc'

/** A refusal whole, as JSON. Names that end in -bin are base64 to every gRPC library. */
export const PROBLEM = 'postern-problem-bin'

/** https://grpc.github.io/grpc/core/md_doc_statuscodes.html */
export const STATUS = {
  OK: 0,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
} as const

const OF_HTTP: Readonly<Record<number, number>> = {
  400: STATUS.INVALID_ARGUMENT,
  401: STATUS.UNAUTHENTICATED,
  403: STATUS.PERMISSION_DENIED,
  404: STATUS.NOT_FOUND,
  409: STATUS.FAILED_PRECONDITION,
  421: STATUS.UNAVAILABLE,
  426: STATUS.UNIMPLEMENTED,
  429: STATUS.RESOURCE_EXHAUSTED,
  431: STATUS.RESOURCE_EXHAUSTED,
  502: STATUS.UNAVAILABLE,
  503: STATUS.UNAVAILABLE,
  504: STATUS.DEADLINE_EXCEEDED,
}

/** The status of gRPC for one of HTTP, for tools: what we read ourselves is {@link PROBLEM}. */
export function statusOf(http: number): number {
  return OF_HTTP[http] ?? STATUS.INTERNAL
}
