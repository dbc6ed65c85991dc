import { authCompliance } from '@postern/compliance'
import { KeyRing } from '@postern/tokens'
import { describe, it } from 'vitest'
import edge from '../src/edge.ts'
import { COOKIE, COOKIE_ROW, claims, cookie, presenter, SESSION_ROW, session } from './edge-world.ts'

/** As the kit has them. */
const HOSTNAME = 'app.postern.test'
const TEAM_DOMAIN = 'team.postern.test'

const ring = KeyRing.create()
const kind = { typ: 'at+jwt', issuer: `https://${TEAM_DOMAIN}`, lifetimeSeconds: 600 }
const good = await ring.sign(claims(), { ...kind, audience: `https://${HOSTNAME}` })
const elsewhere = await ring.sign(claims(), { ...kind, audience: 'https://other.example.com' })

const presented = {
  token: [
    { name: 'postern-access-token', value: good },
    { name: 'postern-access-token', value: elsewhere },
  ],
  cookie: [
    { name: 'cookie', value: `__Host-postern-session=${COOKIE}` },
    { name: 'cookie', value: `__Host-postern-session=${COOKIE.replace(/S$/, 'T')}` },
  ],
} as const

for (const [what, [clientOptions, wrong]] of Object.entries(presented))
  describe(`by ${what}`, () =>
    authCompliance({
      describe,
      it,
      client: presenter,
      edge,
      clientOptions,
      wrong,
      async seed(host) {
        const jwks = ring.jwks() as never
        Object.assign(host.keys, { jwks: async () => jwks })
        await host.records.put(SESSION_ROW, session())
        await host.records.put(COOKIE_ROW, cookie({ hostname: HOSTNAME }))
      },
    }))
