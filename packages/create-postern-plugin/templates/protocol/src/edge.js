// The edge side: runs in `postern-edge` when a rule is saved. It never sees a byte of anybody's connection.
import { definePlugin } from '@postern/interface'
import { readPermit } from './permit.js'

export default definePlugin({
  kind: 'protocol',
  side: 'edge',
  name: 'my-plugin',
  options: {},
  create: () => ({
    check: permit => readPermit(permit).wrong,
  }),
})
