import type { X509Certificate } from 'node:crypto'
import type { Logger } from '@postern/interface'

const DAY = 86_400_000
/** Days before the end at which it is said again. */
const STEPS = [30, 7, 1, 0]

/** Says that a certificate ends: 30, 7 and one day before it does, and when it has. Once each, however often it is looked at. */
export class Expiry {
  readonly #file: string
  readonly #log: Logger
  #said: string | undefined

  constructor(file: string, log: Logger) {
    this.#file = file
    this.#log = log
  }

  look({ validToDate, fingerprint256 }: X509Certificate): void {
    const left = (validToDate.getTime() - Date.now()) / DAY
    const step = STEPS.filter(days => left <= days).at(-1)
    const said = step === undefined ? undefined : `${step} ${fingerprint256}`
    if (said === this.#said) return
    this.#said = said
    const fields = { file: this.#file, days: Math.floor(left), until: validToDate.toISOString() }
    if (step === undefined) return
    if (step > 0) this.#log.warn('the certificate ends soon', fields)
    else this.#log.error('the certificate has ended: nobody connects with it', fields)
  }
}
