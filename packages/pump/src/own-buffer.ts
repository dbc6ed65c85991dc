import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { cut } from './cut.ts'
import { moveRoom } from './room.ts'

/** Bytes of a buffer: whoever is quiet gets by with the small one, so that thousands of them cost next to nothing. */
const SMALL = 4 * 1024
const LARGE = 64 * 1024
/** Reads in a row that the small one would have done for, until it comes back. */
const QUIET = 64

/**
 * Two TCP sockets for the pump, each of which reads into one buffer again and again. Node makes one of 64 KiB for each read, and for plain
 * copying that garbage costs more than everything else. Each result has taken its socket over: one's 'close' is the other's.
 *
 * @returns the two that were given, if one of them is no plain TCP socket or has begun to write or to end
 */
export function withOwnBuffers(a: Duplex, b: Duplex): readonly [Duplex, Duplex] {
  // On Windows a read can be under way, into the buffer, before there is anything to read.
  if (process.platform === 'win32' || !isFree(a) || !isFree(b)) return [a, b]
  const pair: [Socket, Socket] = [adopt(a, () => pair[1]), adopt(b, () => pair[0])]
  return pair
}

/** What Node keeps to itself; where a later one has it no more, sockets stay as they are. */
interface Insides {
  _handle: { readonly useUserBuffer?: unknown } | null
  readonly _readableState?: { readonly ended?: unknown }
}

function isFree(stream: Duplex): stream is Socket & Insides {
  if (!(stream instanceof Socket) || stream.constructor !== Socket || stream.remoteFamily === undefined) return false
  const { _handle, _readableState, connecting, destroyed, writableEnded, writableLength } = stream as Socket & Insides
  const isOpen = !connecting && !destroyed && !writableEnded && _readableState?.ended === false
  return isOpen && writableLength === 0 && typeof _handle?.useUserBuffer === 'function'
}

function adopt(old: Socket & Insides, to: () => Duplex): Socket {
  const held: Buffer | null = old.read()
  const buffer = new OwnBuffer()
  // After that, nobody has a byte of the buffer: none waits here, and the other socket has given all of them to the system.
  const isTaken = () => socket.readableLength === 0 && to().writableLength === 0
  const onread = {
    buffer: () => buffer.next(isTaken),
    callback: (count: number) => socket.push(buffer.filled(count)),
  }
  const options = { handle: old._handle, allowHalfOpen: true, pauseOnCreate: true, onread }
  old._handle = null
  const socket: Socket = new Socket(options as object)
  if (held !== null) socket.unshift(held)
  moveRoom(old, socket)
  socket.once('close', () => old.destroy())
  old.once('close', () => cut(socket))
  return socket
}

/** What is read into. It is given out again only when nobody has a byte of it any more; else there is another one. */
class OwnBuffer {
  #buffer: Buffer | undefined
  #isFull = false
  #quiet = 0

  /** What the last read brought. */
  filled(count: number): Buffer {
    const { length } = this.#buffer!
    this.#isFull = count === length
    this.#quiet = count > SMALL ? 0 : this.#quiet + 1
    return this.#buffer!.subarray(0, count)
  }

  /** For the next read. @param isTaken whether nobody has a byte of the last one any more */
  next(isTaken: () => boolean): Buffer {
    const size = this.#sizeOf(this.#buffer?.length ?? SMALL)
    if (this.#buffer?.length !== size || !isTaken()) this.#buffer = Buffer.allocUnsafeSlow(size)
    return this.#buffer
  }

  #sizeOf(length: number): number {
    if (length === SMALL) return this.#isFull ? LARGE : SMALL
    return this.#quiet < QUIET ? LARGE : SMALL
  }
}
