import { randomBytes } from 'node:crypto'
import { type Html, html } from '../team/html.ts'

/** Forms that are open in administrators’ browsers; the oldest is forgotten for one more. */
const MOST_OPEN = 1000
const FIELD = 'once'

/**
 * Forms that are taken once. Their answer shows a secret, and a browser that is told to load that answer again sends the form
 * again: that must not make another secret, nor end the one that was just copied.
 */
export class OnceForms {
  readonly #open = new Set<string>()

  /** For a form that is about to be shown. */
  field(): Html {
    const id = randomBytes(16).toString('base64url')
    this.#open.add(id)
    if (this.#open.size > MOST_OPEN) this.#open.delete(this.#open.values().next().value ?? '')
    return html`<input type="hidden" name="${FIELD}" value="${id}">`
  }

  /** @returns false for a form that was taken already, or was shown too long ago */
  take(form: URLSearchParams): boolean {
    return this.#open.delete(form.get(FIELD) ?? '')
  }
}
