import { authCompliance, pluginCompliance } from '@postern/compliance'
import { describe, it } from 'vitest'
import client from '../src/client.ts'
import edge from '../src/edge.ts'
import { certificates } from './authority.ts'

const { authorities, files, seed } = await certificates()

pluginCompliance({ describe, it, package: new URL('../package.json', import.meta.url) })
authCompliance({
  describe,
  it,
  client,
  edge,
  authorities,
  clientOptions: files.good,
  wrong: files.ofServer,
  expired: files.expired,
  revoked: files.revoked,
  seed: ({ records }) => seed(records),
})
