import { definePlugin, type Protocol } from '@postern/interface'
import { serveLocal } from '@postern/pump'

/** SSH is end to end between ssh and sshd, so nothing here reads it. */
export default definePlugin({
  kind: 'protocol',
  side: 'client',
  name: 'ssh',
  options: {},
  create: (): Protocol => ({ connect: serveLocal }),
})
