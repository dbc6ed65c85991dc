import { builtins } from '@postern/daemon'

/** How somebody shows who they are: those that come with `postern`, and a third party’s, as `npm create postern-plugin` begins one. */
export const AUTHS = ['browser-sso', 'service-token', 'mtls', 'my-plugin'] as const
export type Auth = (typeof AUTHS)[number]

/** What either end may be told to reach the edge by. */
export const TRANSPORTS: readonly string[] = [...builtIn('transport'), 'auto']
export const PROTOCOLS: readonly string[] = builtIn('protocol')
export const MODES = ['hop', 'end-to-end'] as const

/** One way in. */
export interface Combination {
  readonly auth: Auth
  /** The transport that the client is told to use, and the one that the daemon is. */
  readonly client: string
  readonly daemon: string
  readonly protocol: string
  readonly mode: (typeof MODES)[number]
}

/** Every one there is, possible or not. */
export function everyCombination(): readonly Combination[] {
  return AUTHS.flatMap(auth =>
    TRANSPORTS.flatMap(client =>
      TRANSPORTS.flatMap(daemon =>
        PROTOCOLS.flatMap(protocol => MODES.map(mode => ({ auth, client, daemon, protocol, mode }))),
      ),
    ),
  )
}

/** Why some combinations cannot be, and what who asks for one of them is told. */
export interface Impossible {
  readonly why: string
  is(one: Combination): boolean
  /** `postern`, as somebody would type it. @param application an HTTP application */
  typed(one: Combination, application: string): readonly string[]
  /** And the line of its ingress rule, where a daemon could be told to do it. */
  readonly rule?: { readonly mode: string }
  readonly refused: { readonly code: string; readonly exit: number; readonly says: RegExp }
}

export const IMPOSSIBLE: readonly Impossible[] = [
  {
    why: 'an HTTP application is in the edge’s hands: it reads each request to decide about it, and says who asks',
    is: ({ protocol, mode }) => protocol === 'http' && mode === 'end-to-end',
    typed: (_one, application) => ['access', 'http', application, '--end-to-end'],
    rule: { mode: 'end-to-end' },
    refused: { code: 'OPTION_UNKNOWN', exit: 2, says: /--end-to-end/ },
  },
  {
    why: 'whoever asks an HTTP application speaks HTTP with the edge, browsers too: no transport of ours is between them',
    is: ({ protocol, mode, client }) => protocol === 'http' && mode === 'hop' && client !== 'auto',
    typed: ({ client }, application) => ['access', 'http', application, '--transport', client],
    refused: { code: 'OPTION_UNKNOWN', exit: 2, says: /--transport/ },
  },
]

/** Those that carry something. */
export function possible(): readonly Combination[] {
  return everyCombination().filter(one => !IMPOSSIBLE.some(({ is }) => is(one)))
}

function builtIn(kind: string): readonly string[] {
  return builtins.filter(({ entry }) => entry.kind === kind).map(({ entry }) => entry.name)
}
