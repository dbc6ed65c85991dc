import type { TlsOptions } from 'node:tls'
import type { Logger } from '@postern/interface'

/** Milliseconds between looks at the files: whoever renews a certificate need not tell anybody. */
const INTERVAL = 60_000

export interface ReloadOptions {
  /** Reads the files. @returns undefined when they are as they were; throws when they are no pair */
  readonly read: () => Promise<TlsOptions | undefined>
  readonly use: (server: TlsOptions) => void
  readonly log: Logger
  /** Milliseconds between looks; default one minute. */
  readonly interval?: number
}

/**
 * Takes renewed certificate files into use while the edge serves: connections there are go on with the old certificate, new ones
 * get the new one. Files that are no pair are left alone, whole; the next look may find them mended.
 */
export class CertificateReload implements Disposable {
  readonly #options: ReloadOptions
  readonly #timer: NodeJS.Timeout
  #looking: Promise<void> | undefined
  #over = false
  #told = ''

  constructor(options: ReloadOptions) {
    this.#options = options
    this.#timer = setInterval(() => void this.look(), options.interval ?? INTERVAL).unref()
  }

  /** Looks now, after a look that goes on already. Never rejects. */
  async look(): Promise<void> {
    const before = this.#looking ?? Promise.resolve()
    const mine = before.then(() => this.#look())
    this.#looking = mine
    await mine
  }

  [Symbol.dispose](): void {
    this.#over = true
    clearInterval(this.#timer)
  }

  async #look(): Promise<void> {
    if (this.#over) return
    const { read, use, log } = this.#options
    try {
      const server = await read()
      this.#told = ''
      if (server === undefined || this.#over) return
      use(server)
      log.info('the certificate files were read again and are in use')
    } catch (thrown) {
      const error = thrown instanceof Error ? thrown.message : String(thrown)
      // Every minute would be too often for what nobody mended yet.
      if (error !== this.#told)
        log.error('the certificate files cannot be used: the old certificate serves on', { error })
      this.#told = error
    }
  }
}
