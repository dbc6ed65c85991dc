import { constants } from 'node:os'

/** How a program is asked to stop. */
export interface Stopping extends Disposable {
  /** Aborted by the first SIGINT, SIGTERM or SIGHUP: stop, but let what is open finish. */
  readonly gently: AbortSignal
  /** Aborted by the second: stop now. */
  readonly now: AbortSignal
  /** From now on SIGHUP calls this instead of stopping, as daemons that have a config file do. */
  onHangup(heard: () => void): void
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Listens for the signals that stop a program, until disposed. */
export function onStop(source: NodeJS.EventEmitter = process): Stopping {
  const gently = new AbortController()
  const now = new AbortController()
  let hangup: (() => void) | undefined
  const listeners = SIGNALS.map(name => {
    const heard = () => {
      if (name === 'SIGHUP' && hangup) hangup()
      else stop(name)
    }
    source.on(name, heard)
    return () => source.off(name, heard)
  })
  const stop = (name: Stopped['signal']) =>
    gently.signal.aborted ? now.abort(new Stopped(name)) : gently.abort(new Stopped(name))
  return {
    gently: gently.signal,
    now: now.signal,
    onHangup: heard => {
      hangup = heard
    },
    [Symbol.dispose]: () => {
      for (const remove of listeners) remove()
    },
  }
}

/** Why a call was aborted: somebody stopped the program. It is no failure. */
export class Stopped extends Error {
  override readonly name = 'Stopped'
  readonly signal: (typeof SIGNALS)[number]
  /** As a shell shows it. */
  readonly exit: number

  constructor(signal: (typeof SIGNALS)[number]) {
    super(`stopped by ${signal}`)
    this.signal = signal
    this.exit = 128 + constants.signals[signal]
  }
}
