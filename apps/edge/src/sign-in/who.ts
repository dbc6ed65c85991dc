import type { Identity } from '@postern/interface'
import type { Person } from './session-record.ts'

/** How somebody is called on a page: by what they know themselves by. */
export function nameOf({ email, name, subject }: Pick<Person, 'email' | 'name' | 'subject'>): string {
  return email ?? name ?? subject
}

/** The same of identities that were presented; undefined where nobody was. */
export function namesOf(identities: readonly Identity[]): string | undefined {
  const names = identities.map(({ kind, email, claims, subject }) => {
    if (kind === 'service') return 'a service token'
    if (kind === 'certificate') return 'a client certificate'
    return nameOf({
      subject,
      ...(email !== undefined && { email }),
      ...(typeof claims.name === 'string' && { name: claims.name }),
    })
  })
  return names.join(' and ') || undefined
}
