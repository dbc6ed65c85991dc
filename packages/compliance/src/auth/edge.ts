import assert from 'node:assert/strict'
import type { Call, Identity, OptionSpecs, Presented, Verdict } from '@postern/interface'
import { type Case, type Framework, register, testCase } from '../case.ts'
import { abortable, pause, rejection, rejectsWith, rejectsWithReason, within } from '../expect.ts'
import { recordingLog, tappingOutput } from '../recording.ts'
import { leftOpen, resources } from '../resources.ts'
import { certificateCases } from './certificate.ts'
import { authClientCases, reveals } from './client.ts'
import { type AuthKit, type AuthSubject, authSubject, isTyped, type Verifying, withVerifier } from './edge-rig.ts'
import { hostileCases } from './hostile.ts'
import { withHeader, withoutHeaders } from './presenting.ts'

/** Every case for a credential, both sides: what one gives, the other must judge. */
export function authCases<C extends OptionSpecs, E extends OptionSpecs>(
  kit: Omit<AuthKit<C, E>, keyof Framework>,
): readonly Case[] {
  const subject = authSubject(kit)
  const prefixed = authClientCases(kit).map(each => ({ ...each, name: `client: ${each.name}` }))
  const shown = subject.hasCertificate ? certificateCases(subject) : []
  return [...prefixed, ...judging(subject), ...hostileCases(subject), ...shown, ...keeping(subject)]
}

/**
 * Registers {@link authCases} with a test framework.
 *
 * @example
 * authCompliance({ describe, it, client, edge, clientOptions: { key }, seed: host => host.records.put(id, { hash }) })
 */
export function authCompliance<C extends OptionSpecs, E extends OptionSpecs>(kit: AuthKit<C, E>): void {
  register(kit, `auth ${kit.client.name} keeps its contract`, authCases(kit))
}

function judging(subject: AuthSubject): readonly Case[] {
  const codes = subject.hasCertificate ? CERTIFICATE_CODES : CODES
  const verified = (name: string, body: (verifying: Verifying, call: Call) => Promise<void>): Case =>
    testCase(`edge: ${name}`, call => withVerifier(subject, call, 'good', verifying => body(verifying, call)))
  return [
    verified('accepts what the client side gives', async ({ verify, presented, host }) => {
      identityOf(await verify(presented))
      assert.deepEqual(host.failures, [], 'a success must not be counted as a failure')
    }),
    verified('the identity has its shape, and is plain data', async ({ verify, presented, secrets }) => {
      const identity = identityOf(await verify(presented))
      hasShape(identity)
      assert.deepEqual(structuredClone(identity), identity, 'it must survive being posted from a worker')
      assert.deepEqual(JSON.parse(JSON.stringify(identity)), identity, 'it must survive JSON')
      for (const secret of secrets) assert.ok(!JSON.stringify(identity).includes(secret), 'a secret is in the identity')
    }),
    verified('the same credential is the same identity', async ({ verify, presented }) => {
      const first = identityOf(await verify(presented))
      const all = await Promise.all(Array.from({ length: 100 }, () => verify(structuredClone(presented))))
      for (const each of all) {
        const { issuer, subject, revokeKeys } = identityOf(each)
        assert.deepEqual([issuer, subject, revokeKeys], [first.issuer, first.subject, first.revokeKeys])
      }
    }),
    verified('says undefined when it was not presented', async ({ verify, presented, own }) => {
      const absent = withoutHeaders(presented, own)
      const others = withHeader(absent, 'cookie', ['session=somebody-elses'])
      for (const each of [absent, others]) {
        const verdict = await verify(each)
        // A challenge is how Negotiate says that it was not presented.
        assert.ok(verdict === undefined || !('identity' in verdict), 'an identity out of nothing')
      }
    }),
    verified('leaves what was presented as it was', async ({ verify, presented }) => {
      const before = structuredClone(presented)
      await verify(presented)
      assert.deepEqual(presented, before)
    }),
    verified('refuses each of its headers when altered', async ({ verify, presented, own }) => {
      for (const altered of alterations(presented, own)) {
        await refuses(verify(altered.presented), `${altered.what} was accepted`)
      }
    }),
    verified('refuses one of its headers sent twice, as BAD_USAGE', async ({ verify, presented, own }) => {
      for (const name of own) {
        const value = presented.headers[name]?.[0] ?? ''
        await rejectsWith(verify(withHeader(presented, name, [value, value])), ['BAD_USAGE'], `${name} sent twice`)
      }
    }),
    ...(['wrong', 'expired', 'revoked'] as const)
      .filter(state => subject.has(state))
      .map(state =>
        testCase(`edge: refuses a credential that is ${state}, by its code`, call =>
          withVerifier(subject, call, state, async ({ verify, presented, own }) => {
            await rejectsWith(verify(presented), [codes[state]], `a credential that is ${state}`)
            if (state === 'wrong') return
            for (const altered of alterations(presented, own)) {
              const error = await rejection(verify(altered.presented), altered.what)
              // Whoever does not know the secret must not learn that there was such a token.
              assert.ok(isTyped(error) && error.code !== codes[state], `${altered.what} was told ${codes[state]}`)
            }
          }),
        ),
      ),
  ]
}

const CODES = { wrong: 'AUTH_REJECTED', expired: 'TOKEN_EXPIRED', revoked: 'TOKEN_REVOKED' } as const
const CERTIFICATE_CODES = {
  wrong: 'CERTIFICATE_REJECTED',
  expired: 'CERTIFICATE_EXPIRED',
  revoked: 'CERTIFICATE_REVOKED',
} as const

function keeping(subject: AuthSubject): readonly Case[] {
  return [
    testCase('edge: abort before: rejects with signal.reason', call =>
      withVerifier(subject, call, 'good', async ({ verifier, presented }) => {
        const reason = new Error('too late')
        const verifying = verifier.verify(presented, { signal: AbortSignal.abort(reason), log: call.log })
        await rejectsWithReason(verifying, reason, 'verify() aborted before it began')
      }),
    ),
    testCase('edge: abort while its records are read: rejects with signal.reason', call =>
      withVerifier(subject, call, 'good', async ({ verifier, presented, host, verify }) => {
        await verify(presented)
        if (host.reads === 0) return
        const row = [...host.rows.values()]
        host.onGet = async id => {
          await pause(200)
          return host.rows.get(id) ?? row[0]
        }
        const own = abortable(call)
        const reason = new Error('too slow')
        setTimeout(() => own.abort(reason), 50)
        await rejectsWithReason(verifier.verify(presented, own.call), reason, 'verify() aborted while it read')
      }),
    ),
    testCase('edge: secrets never reach the log, an error or the terminal', call =>
      withVerifier(subject, call, 'good', async ({ verifier, presented, own, secrets }) => {
        const log = recordingLog()
        const errors: unknown[] = []
        const { text } = await tappingOutput(async () => {
          const all = [{ presented }, ...alterations(presented, own)]
          for (const name of own) {
            const value = presented.headers[name]?.[0] ?? ''
            all.push({ presented: withHeader(presented, name, [value, value]) })
          }
          for (const each of all) {
            await verifier.verify(each.presented, { signal: call.signal, log }).catch(error => errors.push(error))
          }
        })
        reveals(secrets, { log: log.text(), terminal: text, errors })
      }),
    ),
    testCase('edge: dispose twice is no error, and nothing is left open', async call => {
      const round = (): Promise<void> =>
        withVerifier(subject, call, 'good', async ({ verifier, verify, presented }) => {
          await verify(presented)
          await within(Promise.resolve(verifier[Symbol.asyncDispose]?.()), 'dispose')
        })
      await round()
      const before = resources()
      for (let count = 0; count < 5; count++) await round()
      assert.deepEqual(await leftOpen(before), [], 'left open')
    }),
  ]
}

function identityOf(verdict: Verdict | undefined): Identity {
  assert.ok(verdict && 'identity' in verdict, 'the edge side must accept what the client side gave')
  return verdict.identity
}

function hasShape(identity: Identity): void {
  const { kind, issuer, subject, claims, revokeKeys, expiresAt } = identity
  assert.ok(['user', 'service', 'certificate'].includes(kind), `unknown kind: ${String(kind)}`)
  for (const [name, value] of Object.entries({ issuer, subject })) {
    assert.ok(typeof value === 'string' && value.length > 0, `${name} must be a text that is not empty`)
  }
  assert.ok(typeof claims === 'object' && claims !== null && !Array.isArray(claims), 'claims must be an object')
  assert.ok(Array.isArray(revokeKeys) && revokeKeys.length > 0, 'without revokeKeys nobody can end its streams')
  for (const key of revokeKeys) assert.ok(typeof key === 'string' && key.length > 0, 'a key to revoke by is a text')
  assert.ok(expiresAt === undefined || (Number.isFinite(expiresAt) && expiresAt > 0), 'expiresAt is in milliseconds')
  assert.ok(['string', 'undefined'].includes(typeof identity.email), 'email must be a text, if it is there')
}

/** The credential with one of its headers spoilt, in every way that must matter. */
function alterations(
  presented: Presented,
  own: readonly string[],
): { readonly what: string; readonly presented: Presented }[] {
  return own.flatMap(name => {
    const value = presented.headers[name]?.[0] ?? ''
    const middle = Math.floor(value.length / 2)
    const other = value[middle] === 'x' ? 'y' : 'x'
    return [
      { what: `${name} with one letter changed`, value: value.slice(0, middle) + other + value.slice(middle + 1) },
      { what: `${name} cut in half`, value: value.slice(0, middle) },
      { what: `${name} that is empty`, value: '' },
      { what: `${name} written twice in one`, value: `${value},${value}` },
    ].map(each => ({ what: each.what, presented: withHeader(presented, name, [each.value]) }))
  })
}

async function refuses(verifying: Promise<Verdict | undefined>, what: string): Promise<void> {
  try {
    const verdict = await within(verifying, 'verify() must answer')
    assert.ok(verdict === undefined || !('identity' in verdict), what)
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error
    assert.ok(isTyped(error), `what verify() throws must be a PosternError: ${String(error)}`)
  }
}
