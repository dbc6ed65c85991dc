import { authCompliance } from '@postern/compliance'
import { createServiceToken } from '@postern/tokens'
import { describe, it } from 'vitest'
import client from '../src/client.ts'
import edge from '../src/edge.ts'

const [good, expired, revoked] = [createServiceToken(), createServiceToken(), createServiceToken()]

authCompliance({
  describe,
  it,
  client,
  edge,
  clientOptions: { id: good.id, secret: good.secret },
  wrong: { id: good.id, secret: expired.secret },
  expired: { id: expired.id, secret: expired.secret },
  revoked: { id: revoked.id, secret: revoked.secret },
  async seed({ records }) {
    await records.put(good.id, { name: 'good', hash: good.hash })
    await records.put(expired.id, { name: 'expired', hash: expired.hash, expiresAt: 1 })
    await records.put(revoked.id, { name: 'revoked', hash: revoked.hash, revokedAt: 1 })
  },
})
