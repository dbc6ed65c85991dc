import assert from 'node:assert/strict'
import type { Call, Json } from '@postern/interface'
import { type Case, testCase } from '../case.ts'
import { type AuthSubject, isTyped, type Verifying, withVerifier } from './edge-rig.ts'
import { withHeader, withoutCertificate } from './presenting.ts'

/** Whoever is not let in yet may send anything, and the edge's own records may fail. Neither may let anybody in. */
export function hostileCases(subject: AuthSubject): readonly Case[] {
  const verified = (name: string, body: (verifying: Verifying, call: Call) => Promise<void>): Case =>
    testCase(`edge: ${name}`, call => withVerifier(subject, call, 'good', verifying => body(verifying, call)))
  return [
    verified('hostile values let nobody in, and break nothing', async ({ verify, presented, own }) => {
      for (const name of own) {
        for (const [what, values] of Object.entries(HOSTILE)) {
          await letsNobodyIn(verify(withHeader(presented, name, values)), `${name}: ${what}`)
        }
      }
      const verdict = await verify(presented)
      assert.ok(verdict && 'identity' in verdict, 'after all that the good credential must still be accepted')
    }),
    verified('hostile header names let nobody in, and pollute nothing', async ({ verify, presented: good }) => {
      const presented = withoutCertificate(good)
      const headers = JSON.parse('{"__proto__":["x"],"constructor":["y"],"toString":["z"],"":["empty"]}')
      await letsNobodyIn(verify({ ...presented, headers }), 'names of Object’s own')
      const many = Object.fromEntries(Array.from({ length: 5_000 }, (_, at) => [`x-${at}`, ['v']]))
      await letsNobodyIn(verify({ ...presented, headers: many }), '5,000 other headers')
      assert.equal(({} as Record<string, unknown>).x, undefined)
    }),
    verified('is found in its headers only, not in the URL and not in a cookie', async ({ verify, presented, own }) => {
      if (own.length === 0) return
      const kept = Object.fromEntries(Object.entries(presented.headers).filter(([name]) => !own.includes(name)))
      const pairs = own.map(name => [name, presented.headers[name]?.[0] ?? ''])
      const url = `/?${new URLSearchParams(pairs)}`
      const cookie = [pairs.map(pair => pair.join('=')).join('; ')]
      await letsNobodyIn(verify({ ...presented, url, headers: { ...kept, 'x-cookie': cookie } }), 'in the URL')
      if (!own.includes('cookie')) {
        await letsNobodyIn(verify({ ...presented, headers: { ...kept, cookie } }), 'in a cookie')
      }
    }),
    verified('records that fail or lie let nobody in', async ({ verify, presented, host }) => {
      await verify(presented)
      if (host.reads === 0) return
      host.onGet = () => Promise.reject(new Error('the disk is gone'))
      await assert.rejects(verify(presented), 'a verifier whose records fail must throw')
      for (const lie of LIES) {
        host.onGet = async () => lie
        await letsNobodyIn(verify(presented), `a record that is ${JSON.stringify(lie)}`)
      }
    }),
  ]
}

const HOSTILE: Readonly<Record<string, readonly string[]>> = {
  'no value at all': [],
  'a megabyte': ['a'.repeat(1_048_576)],
  'ten thousand values': Array.from({ length: 10_000 }, () => 'v'),
  'a property of every object': ['__proto__'],
  'another one': ['constructor'],
  'a path': ['../../../etc/passwd'],
  'a NUL': ['a\0b'],
  'a line end': ['a\r\nx-injected: b'],
  'a blank': [' '],
  'an escape': ['%00%0a%2e%2e'],
  'an SQL quote': ["' OR '1'='1"],
  JSON: ['{"$ne":null}'],
  'an emoji': ['🔑'],
  'a lone surrogate': ['\ud800'],
  'dots and equals signs': ['eyJhbGciOiJub25lIn0.e30.', '==='],
}

const LIES: readonly Json[] = [
  null,
  0,
  42,
  true,
  '',
  'yes',
  [],
  {},
  { hash: '' },
  { hash: 1 },
  { hashes: null },
  { hashes: [{}] },
]

export async function letsNobodyIn(verifying: ReturnType<Verifying['verify']>, what: string): Promise<void> {
  let verdict: Awaited<typeof verifying>
  try {
    verdict = await verifying
  } catch (error) {
    assert.ok(isTyped(error), `${what}: verify() threw ${String(error)}, not a PosternError`)
    return
  }
  assert.ok(verdict === undefined || !('identity' in verdict), `${what}: was let in`)
}
