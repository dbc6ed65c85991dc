import { definePlugin, type ProtocolRules } from '@postern/interface'
import { readSshPermit } from '@postern/pki/ssh/permit'

/** What rules permit under `ssh` is what the edge’s SSH certificates may say. */
export default definePlugin({
  kind: 'protocol',
  side: 'edge',
  name: 'ssh',
  options: {},
  create: (): ProtocolRules => ({
    check(permit) {
      const read = readSshPermit(permit)
      return 'wrong' in read ? read.wrong : []
    },
  }),
})
