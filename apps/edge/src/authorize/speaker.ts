import type { Identity } from '@postern/interface'

/**
 * Whom a certificate is to be about: the one person or service that was let in, with whatever certificate they showed besides, or the
 * one certificate. Of two nobody can say which one the rule let in: with the name of the other it would say what no rule does.
 */
export function speakerOf(identities: readonly Identity[]): Identity | undefined {
  const speaking = identities.filter(({ kind }) => kind !== 'certificate')
  const [one, ...others] = speaking.length > 0 ? speaking : identities
  return others.length === 0 ? one : undefined
}
