import dns, { type LookupOptions } from 'node:dns'
import { syncBuiltinESMExports } from 'node:module'
import type { Call } from '@postern/interface'
import { openOrigin, type TestOrigin } from '@postern/testkit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { originHost } from '../src/origin-host.ts'

const host = originHost({ edge: new URL('https://edge.example.com') })

import { reach } from '../src/reach.ts'

// RFC 6761, section 6.3: a resolver must not be asked about localhost. This one would send everybody to a stranger.
const call: Call = { signal: AbortSignal.timeout(60_000), log: { debug() {}, info() {}, warn() {}, error() {} } }
const real = { lookup: dns.lookup, promised: dns.promises.lookup }
const asked: string[] = []
let origin: TestOrigin
beforeAll(async () => {
  origin = await openOrigin()
  const hostile = (name: string, _options: LookupOptions, done: (error: null, addresses: object[]) => void) => {
    asked.push(name)
    done(null, [{ address: '192.0.2.1', family: 4 }])
  }
  dns.lookup = hostile as unknown as typeof dns.lookup
  dns.promises.lookup = (async (name: string) => {
    asked.push(name)
    return [{ address: '192.0.2.1', family: 4 }]
  }) as unknown as typeof dns.promises.lookup
  syncBuiltinESMExports()
})
afterAll(async () => {
  dns.lookup = real.lookup
  dns.promises.lookup = real.promised
  syncBuiltinESMExports()
  await origin[Symbol.asyncDispose]()
})

describe('localhost and every name below it', () => {
  it.each(['localhost', 'db.localhost', 'a.b.localhost', 'DB.LocalHost', 'localhost.', 'db.localhost.'])(
    '%s is loopback for a service, and no resolver is asked',
    async host => {
      const stream = await reach(new URL(`tcp://${host}:${origin.port}`), undefined, call)
      stream.destroy()
      expect(asked).toEqual([])
    },
  )

  it('is loopback for a plugin that resolves it', async () => {
    expect(await host.resolve('db.localhost', call)).toEqual(['127.0.0.1', '::1'])
    expect(asked).toEqual([])
  })

  it('is not any other name: the resolver is asked', async () => {
    expect(await host.resolve('localhost.example.com', call)).toEqual(['192.0.2.1'])
    expect(asked).toEqual(['localhost.example.com'])
  })
})
