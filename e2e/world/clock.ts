import { globSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Place } from './joined.ts'

/** libfaketime of Debian's package `faketime`, if it is there. */
export const LIBRARY: string | undefined = globSync('/usr/lib/*/faketime/libfaketimeMT.so.1')[0]

/** The clock on the wall of one program, which can be put forward and back while it runs. Timers go on as they do. */
export class WallClock {
  readonly #file: string
  readonly place: Place

  constructor(folder: string, name: string) {
    this.#file = join(folder, `clock-${name}`)
    this.put(0)
    this.place = {
      env: {
        LD_PRELOAD: LIBRARY,
        FAKETIME_TIMESTAMP_FILE: this.#file,
        FAKETIME_CACHE_DURATION: '1',
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
        FAKETIME_DONT_RESET: '1',
      },
    }
  }

  /** So many seconds from what it is. The program sees it within a second. */
  put(seconds: number): void {
    writeFileSync(this.#file, `${seconds < 0 ? '-' : '+'}${Math.abs(seconds)}\n`)
  }
}
