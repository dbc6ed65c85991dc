import assert from 'node:assert/strict'
import { duplexPair } from 'node:stream'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import client from '../src/client.js'
import origin from '../src/origin.js'

const log = { debug() {}, info() {}, warn() {}, error() {} }

/**
 * The client side joined to the origin side, without a tunnel between them.
 *
 * @param {string | undefined} greeting
 * @param {boolean} shout
 */
async function run(greeting, shout) {
  const call = { signal: AbortSignal.timeout(5000), log }
  const [program, stdio] = duplexPair()
  const [near, far] = duplexPair()
  const host = /** @type {never} */ ({})
  const server = await origin.create({ shout }, host)
  const bridge = await client.create({ greeting }, host)
  const app = { hostname: 'echo.localhost', id: 'a', teamDomain: 'localhost', protocols: ['echo'] }
  const remote = {
    service: new URL('echo://here:7'),
    identities: [],
    permit: null,
    audit() {},
    dial: () => Promise.reject(new Error('there is nothing to dial')),
  }
  const serving = server.serve({ accept: () => far }, remote, call)
  const connecting = bridge.connect({ app, stdio, open: async () => near }, call)
  program.end('hello')
  const answer = await text(program)
  await Promise.all([serving, connecting])
  return answer
}

test('answers with what it is sent, after the end of it too', async () => {
  assert.equal(await run(undefined, false), 'hello')
})

test('its options do what they say', async () => {
  assert.equal(await run('hi', true), 'HI\nHELLO')
})

test('a cut is not taken for an end', async () => {
  const [near, far] = duplexPair()
  const server = await origin.create({ shout: false }, /** @type {never} */ ({}))
  const remote = /** @type {never} */ ({ identities: [], audit() {} })
  const serving = server.serve({ accept: () => far }, remote, { signal: AbortSignal.timeout(5000), log })
  near.on('error', () => {})
  far.destroy(new Error('cut'))
  await assert.rejects(serving, { message: 'cut' })
})
