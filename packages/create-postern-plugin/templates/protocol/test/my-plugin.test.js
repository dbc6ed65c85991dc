import assert from 'node:assert/strict'
import { duplexPair } from 'node:stream'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import origin from '../src/origin.js'

const log = { debug() {}, info() {}, warn() {}, error() {} }

/**
 * A user, a service, and the plugin between.
 *
 * @param {import('@postern/interface').Json} permit
 */
async function serve(permit) {
  const [user, stream] = duplexPair()
  const [connection, service] = duplexPair()
  const server = await origin.create({}, /** @type {never} */ ({}))
  const remote = {
    service: new URL('my-plugin://localhost:1'),
    identities: [],
    permit,
    dial: async () => connection,
    audit() {},
  }
  const served = server.serve({ accept: () => stream }, remote, { signal: AbortSignal.timeout(5000), log })
  return { user, service, served }
}

test('carries a question and its answer', async () => {
  const { user, service, served } = await serve(null)
  user.end('a question')
  // Without the option, Node would destroy the whole stream where its one half ends.
  assert.equal(await text(service.iterator({ destroyOnReturn: false })), 'a question')
  service.end('its answer')
  assert.equal(await text(user), 'its answer')
  await served
})

test('a permit that it cannot read lets nobody in', async () => {
  const { served } = await serve({ everything: true })
  await assert.rejects(served, { code: 'ACCESS_DENIED' })
})
