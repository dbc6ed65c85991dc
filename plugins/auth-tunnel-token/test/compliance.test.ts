import { authCompliance } from '@postern/compliance'
import { createTunnelToken } from '@postern/tokens'
import { describe, it } from 'vitest'
import client from '../src/client.ts'
import edge from '../src/edge.ts'

const make = () => createTunnelToken('home')
const [good, wrong, expired, revoked] = [make(), make(), make(), make()]
const hashes = [{ hash: good.hash }, { hash: expired.hash, expiresAt: 1 }, { hash: revoked.hash, revokedAt: 1 }]

authCompliance({
  describe,
  it,
  client,
  edge,
  clientOptions: { token: good.token },
  wrong: { token: wrong.token },
  expired: { token: expired.token },
  revoked: { token: revoked.token },
  seed: ({ records }) => records.put('home', { hashes }),
})
