import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { definePlugin } from '@postern/interface'
import { describe, it } from 'vitest'
import {
  authCases,
  type Case,
  pluginCases,
  protocolClientCases,
  protocolOriginCases,
  protocolRequestsCases,
  protocolRulesCases,
  transportCases,
} from '../src/index.ts'
import * as auth from './good/auth.ts'
import * as protocol from './good/protocol.ts'
import { referenceTransport } from './good/transport.ts'

const HEADING = '## The cases\n'
const README = new URL('../README.md', import.meta.url)

const rules = definePlugin({
  kind: 'protocol',
  side: 'edge',
  name: 'sample',
  options: {},
  create: () => ({ check: () => [] }),
})

const SUITES: Readonly<Record<string, readonly Case[]>> = {
  pluginCompliance: pluginCases({ package: new URL('good/manifest.json', import.meta.url) }),
  transportCompliance: transportCases(referenceTransport()),
  'authCompliance (`authClientCompliance`: the first eight; of certificates: with `authorities`)': authCases({
    client: auth.client,
    edge: auth.edge,
    ...auth.SEEDED,
    authorities: [],
  }),
  protocolClientCompliance: protocolClientCases({ client: protocol.client }),
  protocolOriginCompliance: protocolOriginCases({ origin: protocol.origin }),
  protocolRequestsCompliance: protocolRequestsCases({ origin: protocol.origin }),
  protocolRulesCompliance: protocolRulesCases({ edge: rules, good: [], bad: [] }),
}

function table(): string {
  const suites = Object.entries(SUITES).map(([name, cases]) => {
    const lines = cases.map(each => `- ${each.name.replace('auth x, client side', '(each side of each plugin)')}`)
    return `### ${name}\n\n${lines.join('\n')}\n`
  })
  return `${HEADING}\n${suites.join('\n')}`
}

describe('README.md', () => {
  it('lists every case, from the code (write it with UPDATE=1)', () => {
    const text = readFileSync(README, 'utf8')
    const wanted = text.split(HEADING)[0] + table()
    if (process.env.UPDATE) writeFileSync(README, wanted)
    else assert.equal(text, wanted)
  })
})
