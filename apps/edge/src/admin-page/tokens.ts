import type { Answer, Application, Group, ServiceToken } from '@postern/admin'
import { type Html, html } from '../team/html.ts'
import type { Visit } from './visit.ts'
import { when } from './words.ts'

/** What the rules of applications say of service tokens. */
export class Naming {
  readonly #applications: readonly Application[]
  readonly #groups: readonly Group[]

  constructor(applications: readonly Application[], groups: readonly Group[]) {
    this.#applications = applications
    this.#groups = groups
  }

  /** Applications with a rule that lets a token in by its id, itself or by a group; by hostname. */
  opens(id: string): readonly Application[] {
    const groups = this.#groupsWith(id)
    return this.#applications
      .filter(({ rules }) =>
        rules.some(
          ({ action, include }) =>
            action !== 'deny' &&
            include.some(
              one =>
                ('serviceToken' in one && one.serviceToken === id) || ('inGroup' in one && groups.has(one.inGroup)),
            ),
        ),
      )
      .toSorted((one, other) => (one.hostname < other.hostname ? -1 : 1))
  }

  /** Groups that a token is in, or that are about a group that it is in. */
  #groupsWith(id: string): ReadonlySet<string> {
    const found = new Set<string>()
    for (let before = -1; before < found.size; ) {
      before = found.size
      for (const { name, selectors } of this.#groups) {
        const has = selectors.some(
          one => ('serviceToken' in one && one.serviceToken === id) || ('inGroup' in one && found.has(one.inGroup)),
        )
        if (has) found.add(name)
      }
    }
    return found
  }
}

export async function namingFor(visit: Visit): Promise<Naming> {
  return new Naming(await visit.call('application.list', {}), await visit.call('group.list', {}))
}

export type State = 'good' | 'expired' | 'revoked'

export function stateOf({ revokedAt, expiresAt }: ServiceToken, now: number = Date.now()): State {
  if (revokedAt !== undefined) return 'revoked'
  return expiresAt !== undefined && Date.parse(expiresAt) <= now ? 'expired' : 'good'
}

/** Its state, for the eye and in words. */
export function badge(token: ServiceToken): Html {
  const state = stateOf(token)
  if (state !== 'good') return html`<span class="badge bad">${state}</span>`
  return token.previousUntil === undefined
    ? html`<span class="badge">good</span>`
    : html`<span class="badge">good, rotated</span>`
}

/** What there is to know of a token, as pairs. */
export function facts(token: ServiceToken, opens: readonly Application[]): Html {
  const { id, createdAt, expiresAt, revokedAt, previousUntil } = token
  const end = expiresAt === undefined ? 'never' : when(expiresAt)
  return html`<dl>
<dt>ID</dt><dd><code class="copy">${id}</code></dd>
<dt>Applications</dt><dd>${opens.length === 0 ? 'none' : list(opens)}</dd>
${createdAt && html`<dt>Made</dt><dd>${when(createdAt)}</dd>`}
${revokedAt === undefined ? html`<dt>${stateOf(token) === 'expired' ? 'Expired' : 'Expires'}</dt><dd>${end}</dd>` : html`<dt>Revoked</dt><dd>${when(revokedAt)}</dd>`}
${previousUntil && html`<dt>Old secret</dt><dd>good until ${when(previousUntil)}</dd>`}
</dl>`
}

const MOST_LISTED = 20

function list(applications: readonly Application[]): Html {
  const shown = applications.slice(0, MOST_LISTED).map(({ hostname }) => hostname)
  const more = applications.length - shown.length
  return html`${shown.join(', ')}${more > 0 ? ` and ${more} more` : undefined}`
}

export type Shown = Answer<'service-token.create'>
