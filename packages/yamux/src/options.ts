import { YamuxError } from './errors.ts'
import { INITIAL_WINDOW, MAX_UINT32 } from './frame.ts'
import type { YamuxStream } from './stream.ts'

/** How a session behaves. Only `role` is required. */
export interface YamuxOptions {
  /** One end of the pipe is the client (its streams have odd ids), the other the server (even ids). Who dialled does not matter. */
  readonly role: 'client' | 'server'
  /**
   * Called at once for each stream that the peer opens; the peer learns that it is accepted from `stream.accept()` or the first write
   * or read. Absent or throwing: the stream is reset.
   */
  readonly onStream?: (stream: YamuxStream) => void
  /**
   * Asked for each stream that the peer opens, before anything is made of it. False: RST, which is all that it costs. Default: always.
   */
  readonly admits?: () => boolean
  /** Called when the peer says go-away. After a code other than 0 (normal) the session is over as well, with `PEER_FAILED`. */
  readonly onGoAway?: (code: number) => void
  /**
   * Streams at a time, of both directions, counted from their opening until Node's 'close' (so a finished stream whose last bytes nobody
   * has read still counts). Past it the peer's SYN is answered by RST and `open()` throws `TOO_MANY_STREAMS`. Default 1024, 1 – 2³²−1.
   */
  readonly maxStreams?: number
  /** Streams that the peer opened and we have not accepted yet. Past it: RST. Default 256 (as in Go), 1 – 2³²−1. */
  readonly acceptBacklog?: number
  /** Streams that we opened and the peer has not accepted yet. Past it `open()` throws `TOO_MANY_UNACKNOWLEDGED`. Default 256 (as in Go), 1 – 2³²−1. */
  readonly maxUnacknowledged?: number
  /**
   * Receive window of each stream in bytes: what a peer may have sent that the reader of the stream has not taken yet. Default 1 MiB
   * (more made streams unfair to each other), 256 KiB – 1 GiB. A stopped reader costs this much, so a session costs at most
   * `maxStreams × window`, doubled in the worst case because slices keep the chunks they came in alive; and what {@link maxWindow} adds.
   */
  readonly window?: number
  /**
   * What a window may grow to, in bytes, on a path of 4 ms or more and while its reader keeps up. All windows of a session grow by 16 MiB
   * together at most, all of a process by 64 MiB, those of one owner by 8 MiB. Default 8 MiB (160 MB/s at 50 ms), 256 KiB – 1 GiB; one below `window` lets none grow.
   */
  readonly maxWindow?: number
  /**
   * Streams that get the whole `window`; those opened while so many are there get the protocol's 256 KiB, so that a session of a thousand
   * streams that nobody reads is not a gigabyte. Default 64.
   */
  readonly wideStreams?: number
  /**
   * Bytes waiting in the pipe above which no more stream data is handed to it: streams then wait for its 'drain', one frame each in turn.
   * Default 256 KiB, 1 – 1 GiB: what waits there goes before whatever is written next, also of a stream that sends little. (A pipe whose own high-water mark is greater is filled up to that.)
   */
  readonly maxWriteQueue?: number
  /**
   * Bytes of control frames (answers to pings, resets, window updates; 12 each) that may wait in the pipe. Past it the peer does not read
   * what it asks for, and the session fails with `PEER_NOT_READING`; from half of it `open()` throws `PIPE_FULL`, so that what our own side
   * does cannot bring the session there. Default 128 KiB, 1 KiB – 1 GiB.
   */
  readonly maxControlQueue?: number
  /** Largest payload of one frame we send, in bytes. A chunk up to this goes as it is, greater ones are split. Default 64 KiB, 1 – 1 GiB. */
  readonly maxFrame?: number
  /**
   * The error that a stream cut from outside is destroyed with, in place of `reason`: the peer's RST, or what ended the session. Asked when
   * the RST is read, so what came before it in the pipe has been read too. Default: `reason` itself.
   */
  readonly cutError?: (id: number, reason: Error) => Error
  /**
   * Called for each stream that is destroyed on this side before both sides have finished: its RST goes out when `send` is called, at once
   * or when something else has gone first. The stream is gone here whatever happens. Default: at once.
   */
  readonly sendReset?: (id: number, error: Error | null, send: () => void) => void
}

/** The caller's say in which streams there are, and how they are cut. */
export interface Hooks {
  readonly admits: () => boolean
  readonly cutError: (id: number, reason: Error) => Error
  readonly sendReset: (id: number, error: Error | null, send: () => void) => void
}

export function hooksOf(options: YamuxOptions): Hooks {
  return {
    admits: options.admits ?? (() => true),
    cutError: options.cutError ?? ((_id, reason) => reason),
    sendReset: options.sendReset ?? ((_id, _error, send) => send()),
  }
}

export interface Limits {
  readonly maxStreams: number
  readonly acceptBacklog: number
  readonly maxUnacknowledged: number
  readonly window: number
  readonly maxWindow: number
  readonly wideStreams: number
  readonly maxWriteQueue: number
  readonly maxControlQueue: number
  readonly maxFrame: number
}

const GIB = 1024 ** 3

export function limitsOf(options: YamuxOptions): Limits {
  if (options.role !== 'client' && options.role !== 'server') {
    throw new YamuxError('OPTION', `The role must be 'client' or 'server', not ${String(options.role)}`)
  }
  return {
    maxStreams: ranged('maxStreams', options.maxStreams ?? 1024, 1, MAX_UINT32),
    acceptBacklog: ranged('acceptBacklog', options.acceptBacklog ?? 256, 1, MAX_UINT32),
    maxUnacknowledged: ranged('maxUnacknowledged', options.maxUnacknowledged ?? 256, 1, MAX_UINT32),
    window: ranged('window', options.window ?? 1024 * 1024, INITIAL_WINDOW, GIB),
    maxWindow: ranged('maxWindow', options.maxWindow ?? 8 * 1024 * 1024, INITIAL_WINDOW, GIB),
    wideStreams: ranged('wideStreams', options.wideStreams ?? 64, 0, MAX_UINT32),
    maxWriteQueue: ranged('maxWriteQueue', options.maxWriteQueue ?? 256 * 1024, 1, GIB),
    maxControlQueue: ranged('maxControlQueue', options.maxControlQueue ?? 128 * 1024, 1024, GIB),
    maxFrame: ranged('maxFrame', options.maxFrame ?? 64 * 1024, 1, GIB),
  }
}

function ranged(name: string, value: number, low: number, high: number): number {
  if (Number.isInteger(value) && value >= low && value <= high) return value
  throw new YamuxError('OPTION', `${name} must be a whole number from ${low} to ${high}, not ${value}`)
}
