import { hostname } from 'node:os'
import type { Answer, Input, RouteName } from '@postern/admin'
import { createAdminClient } from '@postern/admin/client'
import type { AuthProvider, Call, Credential } from '@postern/interface'
import { clientHost, type EdgeAt, type Program } from '@postern/program'
import { createRegistry } from '@postern/registry'
import { ownAbout } from '../about.ts'
import { builtins } from '../builtin.ts'

/** Milliseconds. A bearer with less left is renewed, so that it is still good when it arrives. */
const MARGIN = 30_000

export interface AdministeredEdge {
  readonly edge: URL
  readonly tunnel: string
  readonly trust: EdgeAt['trust']
}

/** Calls of the edge's administration as whoever signed in; signs out when it is disposed. */
export interface Administration extends AsyncDisposable {
  call<N extends RouteName>(name: N, input: Input<N>, call: Call): Promise<Answer<N>>
}

/**
 * Signs an administrator in, by a code that they type on another device. Nothing of it is kept on this machine.
 *
 * @throws PosternError LOGIN_REQUIRED: nobody approved; what asking the edge throws
 */
export async function administer(at: AdministeredEdge, program: Program, call: Call): Promise<Administration> {
  const { edge, trust } = at
  const provider = await signInPlugin(at, program, call)
  const purpose = { purpose: 'admin', teamDomain: edge.host } as const
  const signOut = async () => void (await provider.signOut?.(purpose, { ...call, signal: AbortSignal.timeout(MARGIN) }))
  let credential: Credential = await provider.authenticate(purpose, call).catch(async error => {
    await signOut() // whoever signed in may be no administrator any more: nothing stays open for that
    throw error
  })
  return {
    async call(name, input, asked) {
      const { expiresAt = 0 } = credential
      if (expiresAt <= Date.now() + MARGIN) credential = await provider.authenticate(purpose, asked)
      return createAdminClient({ edge, token: bearerIn(credential), ca: trust.ca }).call(name, input, asked)
    },
    [Symbol.asyncDispose]: signOut,
  }
}

/** As the approving person is shown it: which machine, and what for. */
async function signInPlugin(
  { edge, tunnel, trust }: AdministeredEdge,
  program: Program,
  call: Call,
): Promise<AuthProvider> {
  const { version } = await ownAbout()
  const own = `posternd/${version} on ${hostname()}, for the tunnel ${tunnel}`.replace(/[^\x20-\x7e]/g, '?')
  const host = clientHost(program, { hostname: edge.hostname, edge, trust })
  const lent = {
    ...host,
    fetch: (url: URL, init: Parameters<typeof host.fetch>[1]) =>
      host.fetch(url, { ...init, headers: { ...(init.headers as Record<string, string>), 'user-agent': own } }),
  }
  const options = { device: true, browser: false, trustTeam: undefined }
  return createRegistry(builtins).create('auth', 'browser-sso', 'client', options, lent, call)
}

function bearerIn({ headers }: Credential): string {
  const { authorization } = typeof headers === 'object' ? headers : {}
  return String(authorization).replace(/^Bearer /, '')
}
