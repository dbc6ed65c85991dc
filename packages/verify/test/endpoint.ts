// A team domain’s key endpoint on this machine, which answers as a test says and counts.
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { identityClaims, type KeyRing, type TokenIdentity } from '@postern/tokens'

export const TEAM = 'team.example.com'
export const APP = 'app.example.com'
export const ANN: TokenIdentity = {
  kind: 'user',
  issuer: 'https://idp.example.com',
  subject: '42',
  email: 'ann@example.com',
  groups: ['ops'],
}

export interface Endpoint extends AsyncDisposable {
  readonly url: URL
  readonly asked: number
  answer(listener: RequestListener): void
  json(value: unknown): void
}

export async function startEndpoint(value: unknown): Promise<Endpoint> {
  let asked = 0
  let listener: RequestListener = () => {}
  const server = createServer((request, response) => {
    asked += 1
    listener(request, response)
  })
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
  const json = (body: unknown) => {
    listener = (_, response) =>
      void response.setHeader('content-type', 'application/jwk-set+json').end(JSON.stringify(body))
  }
  json(value)
  return {
    url: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/.well-known/jwks.json`),
    get asked() {
      return asked
    },
    answer: wanted => {
      listener = wanted
    },
    json,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise(done => server.close(done))
    },
  }
}

/** What the edge would put on a request. */
export function identityToken(
  ring: KeyRing,
  more: {
    audience?: string
    typ?: string
    issuer?: string
    identity?: object
    lifetimeSeconds?: number
    now?: number
  } = {},
): Promise<string> {
  const { identity = identityClaims(ANN), ...options } = more
  return ring.sign(
    { ...identity },
    { typ: 'postern-identity+jwt', issuer: `https://${TEAM}`, audience: APP, lifetimeSeconds: 300, ...options },
  )
}
