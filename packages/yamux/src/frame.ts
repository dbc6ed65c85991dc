// Numbers of the wire format: https://github.com/hashicorp/yamux/blob/master/spec.md

export const VERSION = 0
/** Bytes of every header: version 1, type 1, flags 2, stream id 4, length 4; big endian. */
export const HEADER_BYTES = 12

export const DATA = 0
export const WINDOW_UPDATE = 1
export const PING = 2
export const GO_AWAY = 3

export const SYN = 1
export const ACK = 2
export const FIN = 4
export const RST = 8

/** Bytes that each side may send on a new stream before any window update: 256 KiB. */
export const INITIAL_WINDOW: number = 256 * 1024
/** The largest length, window and stream id: all are unsigned 32-bit. */
export const MAX_UINT32 = 0xffffffff

/** A fresh header: it is handed to the pipe, so its bytes are never used again. */
export function encodeHeader(type: number, flags: number, id: number, length: number): Buffer {
  const header = Buffer.allocUnsafe(HEADER_BYTES)
  header[0] = VERSION
  header[1] = type
  header[2] = 0
  header[3] = flags
  header[4] = id >>> 24
  header[5] = id >>> 16
  header[6] = id >>> 8
  header[7] = id
  header[8] = length >>> 24
  header[9] = length >>> 16
  header[10] = length >>> 8
  header[11] = length
  return header
}
