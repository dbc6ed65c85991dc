import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { fakeEdgeHost } from '@postern/compliance'
import edge from '../src/edge.js'

const call = { signal: AbortSignal.timeout(5000), log: { debug() {}, info() {}, warn() {}, error() {} } }
const keys = ['ann', 'bob'].map(name => `${name}:${createHash('sha256').update(`the-key-of-${name}`).digest('hex')}`)

/** @param {...string} sent values of the header */
async function verify(...sent) {
  const verifier = await edge.create({ keys: keys.join('\n') }, fakeEdgeHost())
  /** @type {Record<string, string[]>} */
  const headers = sent.length > 0 ? { 'x-my-plugin-key': sent } : {}
  return verifier.verify({ method: 'GET', url: '/', headers, remoteAddress: '192.0.2.1' }, call)
}

test('a key is somebody’s', async () => {
  const verdict = await verify('the-key-of-bob')
  assert.equal(verdict && 'identity' in verdict && verdict.identity.subject, 'bob')
})

test('another key is nobody’s, and no key is none of its business', async () => {
  await assert.rejects(verify('the-key-of-eve'), { code: 'AUTH_REJECTED' })
  assert.equal(await verify(), undefined)
})

test('two keys are no key', async () => {
  await assert.rejects(verify('the-key-of-ann', 'the-key-of-bob'), { code: 'BAD_USAGE' })
})

test('keys that cannot be read are said so at the start, by their place alone', async () => {
  const create = async () => edge.create({ keys: `${keys[0]} bob:secret` }, fakeEdgeHost())
  await assert.rejects(create, error => /word 2/.test(String(error)) && !/secret/.test(String(error)))
})
