import { protocolClientCompliance, protocolOriginCompliance, protocolRulesCompliance } from '@postern/compliance'
import { describe, it } from 'vitest'
import client from '../src/client.ts'
import edge from '../src/edge.ts'
import origin from '../src/origin.ts'

protocolClientCompliance({ describe, it, client })
protocolOriginCompliance({ describe, it, origin, service: new URL('ssh://localhost') })
protocolRulesCompliance({
  describe,
  it,
  edge,
  good: [
    {},
    {
      principals: ['deploy', { claim: 'unix_name' }, { emailLocalPart: 'example.com' }],
      extensions: ['permit-pty'],
      seconds: 600,
    },
  ],
  bad: [
    null,
    { principals: [] },
    { principals: ['a,b'] },
    { principals: [{ emailLocalPart: '*' }] },
    { extensions: ['permit-all'] },
    { seconds: 1 },
    { user: 'x' },
  ],
})
