import type { Person } from '../sign-in/session-record.ts'
import { type Html, html } from '../team/html.ts'
import type { Page } from '../team/page.ts'

/** A sign-in that cannot be continued, where no program hears of it. */
export function errorPage(what: string, status: number): Page {
  return {
    status: Math.max(status, 400),
    title: 'This sign-in cannot be continued',
    main: html`<h1>This sign-in cannot be continued</h1>
<p>${what}</p>
<p>Close this page, and start again from the program that opened it.</p>`,
  }
}

/** A page that says one thing, and nothing more to do. */
export function plainPage(title: string, text: string, status = 200): Page {
  return { status, title, main: html`<h1>${title}</h1>\n<p>${text}</p>` }
}

/** Who approves. */
export function nameOf({ name, email, subject }: Person): string {
  if (name !== undefined && email !== undefined) return `${name} (${email})`
  return name ?? email ?? subject
}

/** Yes and no. */
export function choice(action: string, hidden: Html, yes: string): Html {
  return html`<form method="post" action="${action}">
${hidden}
<button type="submit" name="answer" value="yes">${yes}</button>
<button type="submit" name="answer" value="no" class="quiet">No, refuse</button>
</form>
<p>Only approve what you have just started yourself.</p>`
}
