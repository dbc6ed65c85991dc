import type { Socket } from 'node:net'

export interface Opening {
  readonly event: 'connect' | 'secureConnect'
  /** Milliseconds. */
  readonly deadline: number
  /** What is thrown when the deadline has passed. */
  readonly late: () => Error
  /** What is thrown for an error of the socket. */
  readonly failed: (error: NodeJS.ErrnoException) => Error
}

/** Waits for a socket to be open, and destroys it where that fails. @throws what `late` or `failed` make; `signal.reason` */
export function opened<S extends Socket>(socket: S, opening: Opening, signal: AbortSignal): Promise<S> {
  const { event, deadline, late, failed } = opening
  // It stays: whoever is handed the socket may take a moment until it listens, and an error nobody hears ends the process.
  socket.on('error', () => {})
  return new Promise((resolve, reject) => {
    const settle = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      socket.off(event, onOpen).off('error', onError).off('close', onClose)
    }
    const fail = (reason: unknown) => {
      settle()
      socket.destroy()
      reject(reason)
    }
    const onOpen = () => {
      settle()
      resolve(socket)
    }
    const onError = (error: Error) => fail(failed(error))
    const onClose = () => fail(failed(new Error('it closed the connection')))
    const onAbort = () => fail(signal.reason)
    const timer = setTimeout(() => fail(late()), deadline)
    socket.on(event, onOpen).on('error', onError).on('close', onClose)
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort)
  })
}

/** The operating system's word for a failure. Happy eyeballs reports an AggregateError: its first part says why. */
export function errnoOf(error: Error): string | undefined {
  const { code } = (error instanceof AggregateError ? error.errors[0] : error) as NodeJS.ErrnoException
  return code
}
