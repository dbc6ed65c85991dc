import { type AuthProvider, definePlugin } from '@postern/interface'

/** Presents a token of a person who signed in with their browser, once for all applications of their team. */
export default definePlugin({
  kind: 'auth',
  side: 'client',
  name: 'browser-sso',
  options: {
    device: {
      type: 'boolean',
      default: false,
      summary: 'sign in on another device, by a code: for machines without a browser',
    },
    browser: {
      type: 'boolean',
      default: true,
      summary: 'open the sign-in page in a browser; --no-browser only prints it',
    },
    trustTeam: {
      type: 'string',
      summary: 'the team domain to sign in at, so that nobody is asked whether it is the right one',
    },
  },
  create: async (options, host): Promise<AuthProvider> => {
    const { createProvider } = await import('./client/provider.ts')
    return createProvider(options, host)
  },
})
