import type { Provider } from '@postern/admin'
import { command, group } from './command.ts'
import { facts, safe, table } from './show.ts'

export const PROVIDER = group('Set, see and remove the identity providers that people sign in with', {
  set: command({
    summary: 'make an OpenID Connect provider, or replace it; its client secret is never shown again',
    words: ['ID'],
    options: {
      name: { type: 'string', required: true, summary: 'what people read on the sign-in page' },
      issuer: { type: 'string', required: true, summary: 'as its discovery document has it, by https:' },
      clientId: { type: 'string', required: true, summary: 'as the provider knows this edge' },
      clientSecret: { type: 'secret', summary: 'that goes with it (default: as it is, or none)' },
      scope: { type: 'string', multiple: true, summary: 'to ask for (default: openid, profile and email)' },
      groupsClaim: { type: 'string', summary: 'the claim that lists a person’s groups (default: none are known)' },
      trustEmail: {
        type: 'boolean',
        default: false,
        summary: 'emails count though it does not say that they are verified: only where it verifies them all',
      },
    },
    example:
      'postern admin provider set example --name Example --issuer https://idp.example.com --client-id postern --client-secret-file ./client-secret',
    run: ({ words, values: { name, issuer, clientId, clientSecret, scope, groupsClaim, trustEmail }, ask }) =>
      ask('provider.put', {
        params: { id: words.ID },
        body: {
          name,
          issuer,
          clientId,
          trustEmail,
          ...(clientSecret !== undefined && { clientSecret }),
          ...(scope.length > 0 && { scopes: [...scope] }),
          ...(groupsClaim !== undefined && { groupsClaim }),
        },
      }),
    show(provider, { say }) {
      say('The provider must know these addresses:')
      return describe(provider)
    },
  }),
  list: command({
    summary: 'list the providers',
    example: 'postern admin provider list',
    run: ({ ask }) => ask('provider.list', {}),
    show: providers =>
      table(
        ['ID', 'NAME', 'ISSUER', 'CLIENT', 'SECRET'],
        providers.map(one => [one.id, one.name, one.issuer, one.clientId, one.hasSecret]),
      ),
  }),
  remove: command({
    summary: 'remove a provider; the sessions of whom it vouched for end',
    words: ['ID'],
    example: 'postern admin provider remove example',
    async run({ words, ask }) {
      await ask('provider.delete', { params: { id: words.ID } })
      return { id: words.ID, removed: true }
    },
    show: ({ id }) => `the provider ${safe(id)} is removed\n`,
  }),
})

function describe({ id, issuer, redirectUri, logoutUri, hasSecret, trustEmail }: Provider): string {
  return facts([
    ['provider', id],
    ['issuer', issuer],
    ['redirect URI', redirectUri],
    ['back-channel logout URI', logoutUri],
    ['client secret', hasSecret],
    ['emails count', trustEmail ? 'unless it says that they are not verified' : 'where it says that they are verified'],
  ])
}
