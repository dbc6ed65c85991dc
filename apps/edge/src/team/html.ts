/** Markup that is safe to send: only {@link html} makes it. */
export class Html {
  readonly #markup: string

  constructor(markup: string, proof: typeof MADE_HERE) {
    if (proof !== MADE_HERE) throw new TypeError('markup is made by html`…` only')
    this.#markup = markup
  }

  toString(): string {
    return this.#markup
  }
}

const MADE_HERE = Symbol('made by html')

export type HtmlValue = string | number | Html | readonly Html[] | undefined

/**
 * Markup from a template. Every value is escaped, for text and for quoted attributes alike, unless it is markup itself; undefined
 * leaves nothing. Values stand between tags or in double quotes, never in a tag’s name, a script or a style.
 *
 * @example
 * html`<p title="${title}">${text}</p>`
 */
export function html(parts: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
  const markup = parts.map((part, at) => (at === 0 ? part : markupOf(values[at - 1]) + part)).join('')
  return new Html(markup, MADE_HERE)
}

function markupOf(value: HtmlValue): string {
  if (value === undefined) return ''
  if (value instanceof Html) return value.toString()
  if (typeof value === 'object') return value.map(markupOf).join('')
  return escapeHtml(String(value))
}

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
  '`': '&#96;',
}

/** Marks that turn the direction of text, and what cannot be seen: a name must read as what it is. */
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g

function escapeHtml(text: string): string {
  return text
    .toWellFormed()
    .replace(UNSEEN, ' ')
    .replace(/[&<>"'`]/g, found => ESCAPES[found] ?? '')
}
