import type { Snapshot } from '@postern/store'

/** Namespace of the store. */
export const PROVIDERS = 'provider'

/** An OpenID provider of the team. */
export interface ProviderRecord {
  readonly id: string
  /** What people read on the button. */
  readonly name: string
  /** As the provider spells it. */
  readonly issuer: string
  readonly clientId: string
  /** Sealed; absent for a public client. */
  readonly clientSecret?: string
  /** Default: openid, profile, email. */
  readonly scopes?: readonly string[]
  /** Which claim names a person’s groups; without it, nobody from here has any. */
  readonly groupsClaim?: string
  /** Takes an email also where the provider does not say whether it is verified; what it says is not, never is. */
  readonly trustEmail?: boolean
}

/** By id, in the order of their names. */
export function providersOf({ records }: Snapshot): readonly ProviderRecord[] {
  const rows = [...(records.get(PROVIDERS)?.values() ?? [])] as unknown as ProviderRecord[]
  return rows.sort((one, other) => one.name.localeCompare(other.name, 'en'))
}

/** Where a provider sends people back to: one address each, so that no provider answers for another (RFC 9700 §4.4.2). */
export function redirectUriOf(teamOrigin: string, id: string): string {
  return `${teamOrigin}/login/callback/${encodeURIComponent(id)}`
}

/** Where a provider says that a person signed out there (OpenID Connect Back-Channel Logout 1.0). */
export function logoutUriOf(teamOrigin: string, id: string): string {
  return `${teamOrigin}/login/ended/${encodeURIComponent(id)}`
}
