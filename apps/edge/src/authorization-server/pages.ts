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

/** What a page says of that which a program wants. */
export interface Asked {
  readonly title: string
  /** The title, where it is more than text. */
  readonly heading?: Html
  /** Behind “it says that it is Postern’s, and”. */
  readonly wants: string
  /** Rows of the list of facts. */
  readonly place: Html | undefined
  readonly may: string
  readonly yes: string
}

/** A sign-in to applications. @param application the one it begins with */
export function opensApplications(application: string | undefined): Asked {
  return {
    title: 'Let this device in?',
    wants: 'wants to sign in as you',
    place: application === undefined ? undefined : html`<dt>It is for</dt><dd>${application}</dd>`,
    may: 'It will be able to open every application that you may open.',
    yes: 'Yes, sign it in',
  }
}

/** An administrator's sign-in. @param team origin of the team domain */
export function administers(team: string): Asked {
  return {
    title: 'Let this program administer?',
    wants: 'wants to administer this edge as you, to set a daemon up for example',
    place: html`<dt>It administers</dt><dd>${team}</dd>`,
    may: 'Until it is done, and no longer than your sign-in, it can change everything here that you can. It opens no applications.',
    yes: 'Yes, let it administer',
  }
}
