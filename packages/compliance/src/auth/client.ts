import assert from 'node:assert/strict'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import {
  type AuthProvider,
  type Call,
  type ClientHost,
  type Credential,
  type OptionSpecs,
  type Options,
  type Plugin,
  PosternError,
} from '@postern/interface'
import { type Case, type Framework, register, testCase } from '../case.ts'
import { abortable, rejectsWithReason, within } from '../expect.ts'
import { fakeClientHost } from '../hosts.ts'
import { secretsOf, withDefaults } from '../options.ts'
import { everythingSaid, recordingLog, tappingOutput } from '../recording.ts'
import { leftOpen, resources } from '../resources.ts'
import { headersOf, type PurposeName, requestFor } from './presenting.ts'

export interface AuthClientKit<C extends OptionSpecs> extends Framework {
  readonly client: Plugin<'auth', 'client', C>
  /** What a user would give; declared defaults are filled in. */
  readonly clientOptions?: Partial<Options<C>>
  /** What it gives credentials for. Without it: at least one of `access`, `connector`, `admin`. */
  readonly purposes?: readonly PurposeName[]
  /** Where the kit's own host, with nobody at the terminal, is not enough. */
  readonly clientHost?: () => ClientHost
}

const PURPOSES: readonly PurposeName[] = ['access', 'connector', 'admin']

/** RFC 9110, 5.6.2 and 5.5: a token, and visible characters with blanks inside only. */
const NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
const VALUE = /^[\x21-\x7e\x80-\xff]([\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?$/

/** They belong to HTTP and to the transport. */
const NOT_ITS_OWN = /^(host|connection|upgrade|content-length|transfer-encoding|te|trailer|expect|sec-websocket-.*)$/i

/** Every case for a credential's client side. */
export function authClientCases<C extends OptionSpecs>(kit: Omit<AuthClientKit<C>, keyof Framework>): readonly Case[] {
  const values = withDefaults(kit.client.options, kit.clientOptions)
  const secrets = secretsOf(kit.client.options, values)
  const provided = (body: (provider: AuthProvider, call: Call) => Promise<void>) => async (call: Call) => {
    const provider = await kit.client.create(values, (kit.clientHost ?? fakeClientHost)())
    try {
      await body(provider, call)
    } finally {
      await within(Promise.resolve(provider[Symbol.asyncDispose]?.()), 'dispose')
    }
  }
  return [
    testCase(
      'gives a credential for what it is for, and a typed refusal for what it is not',
      provided(async (provider, call) => {
        const given = await credentials(provider, kit.purposes, call)
        for (const { headers, tls, expiresAt } of given) {
          assert.ok(headers !== undefined || tls !== undefined, 'a credential has headers, a certificate, or both')
          assert.ok(expiresAt === undefined || Number.isFinite(expiresAt), 'expiresAt is in milliseconds')
          if (!tls) continue
          const matches = new X509Certificate(tls.cert).checkPrivateKey(createPrivateKey(tls.key))
          assert.ok(matches, 'the key must be that of the first certificate')
        }
      }),
    ),
    testCase(
      'headers are valid, and none of HTTP’s own',
      provided(async (provider, call) => {
        for (const credential of await credentials(provider, kit.purposes, call)) {
          for (const [name, all] of Object.entries(await headersOf(credential, call))) {
            assert.match(name, NAME, 'not a header’s name')
            assert.doesNotMatch(name, NOT_ITS_OWN, 'this header belongs to HTTP and to the transport')
            for (const value of all) assert.ok(VALUE.test(value), `the value of ${name} cannot be sent`)
          }
        }
      }),
    ),
    testCase(
      'asked many times at once, it answers each',
      provided(async (provider, call) => {
        const purpose = await working(provider, kit.purposes, call)
        await Promise.all(Array.from({ length: 20 }, () => provider.authenticate(requestFor(purpose), call)))
      }),
    ),
    testCase(
      'after a refusal it does not repeat itself',
      provided(async (provider, call) => {
        const request = requestFor(await working(provider, kit.purposes, call))
        const credential = await provider.authenticate(request, call)
        const refused = { status: 401, headers: {}, credential }
        const again = await attempt(provider.authenticate({ ...request, refused }, call))
        if ('error' in again) assert.ok(PosternError.is(again.error), 'what it throws must be a PosternError')
        else assert.notDeepEqual(again.credential, credential, 'the same credential again would go on for ever')
      }),
    ),
    testCase(
      'abort before: rejects with signal.reason',
      provided(async (provider, call) => {
        const request = requestFor(await working(provider, kit.purposes, call))
        const reason = new Error('not today')
        const asked = provider.authenticate(request, { signal: AbortSignal.abort(reason), log: call.log })
        await rejectsWithReason(asked, reason, 'authenticate() aborted before it began')
      }),
    ),
    testCase(
      'abort during: rejects with signal.reason, or was done already',
      provided(async (provider, call) => {
        const request = requestFor(await working(provider, kit.purposes, call))
        const own = abortable(call)
        const reason = new Error('too slow')
        const asked = attempt(provider.authenticate(request, own.call))
        own.abort(reason)
        const outcome = await within(asked, 'authenticate() must be over after an abort')
        if ('error' in outcome) assert.equal(outcome.error, reason, 'must reject with signal.reason itself')
      }),
    ),
    testCase(
      'secrets never reach the log, an error or the terminal',
      provided((provider, call) => keepsSecrets(provider, kit.purposes, secrets, call)),
    ),
    testCase('dispose twice is no error, and nothing is left open', async call => {
      const round = provided(async provider => {
        await working(provider, kit.purposes, call)
        await within(Promise.resolve(provider[Symbol.asyncDispose]?.()), 'dispose')
      })
      await round(call)
      const before = resources()
      for (let count = 0; count < 5; count++) await round(call)
      assert.deepEqual(await leftOpen(before), [], 'left open')
    }),
  ]
}

/**
 * Registers {@link authClientCases} with a test framework.
 *
 * @example
 * authClientCompliance({ describe, it, client, clientOptions: { key: 'k' } })
 */
export function authClientCompliance<C extends OptionSpecs>(kit: AuthClientKit<C>): void {
  register(kit, `auth ${kit.client.name} (client side) keeps its contract`, authClientCases(kit))
}

/** The first purpose it gives a credential for. */
export async function working(
  provider: AuthProvider,
  purposes: readonly PurposeName[] = PURPOSES,
  call: Call,
): Promise<PurposeName> {
  for (const purpose of purposes) {
    if ('credential' in (await attempt(provider.authenticate(requestFor(purpose), call)))) return purpose
  }
  return assert.fail(`it gives a credential for none of ${purposes.join(', ')}`)
}

async function credentials(
  provider: AuthProvider,
  purposes: readonly PurposeName[] | undefined,
  call: Call,
): Promise<readonly Credential[]> {
  const given: Credential[] = []
  for (const purpose of PURPOSES) {
    const outcome = await attempt(provider.authenticate(requestFor(purpose), call))
    if ('credential' in outcome) given.push(outcome.credential)
    else {
      assert.ok(PosternError.is(outcome.error), `${purpose}: must be a PosternError: ${String(outcome.error)}`)
      assert.ok(!purposes?.includes(purpose), `${purpose}: no credential, but ${outcome.error.code}`)
    }
  }
  assert.ok(given.length > 0, 'it gives a credential for nothing at all')
  return given
}

async function attempt(
  asked: Promise<Credential>,
): Promise<{ readonly credential: Credential } | { readonly error: unknown }> {
  try {
    return { credential: await asked }
  } catch (error) {
    return { error }
  }
}

async function keepsSecrets(
  provider: AuthProvider,
  purposes: readonly PurposeName[] | undefined,
  secrets: readonly string[],
  call: Call,
): Promise<void> {
  const log = recordingLog()
  const own = { signal: call.signal, log }
  const errors: unknown[] = []
  const kept = [...secrets]
  const { text } = await tappingOutput(async () => {
    for (const purpose of purposes ?? PURPOSES) {
      const outcome = await attempt(provider.authenticate(requestFor(purpose), own))
      if ('error' in outcome) errors.push(outcome.error)
      else {
        const { credential } = outcome
        // The second line of a PEM: the first names only the kind of key.
        if (credential.tls) kept.push(credential.tls.key.split('\n')[1] ?? credential.tls.key)
        const refused = { status: 401, headers: { 'www-authenticate': ['Negotiate'] }, credential }
        const again = await attempt(provider.authenticate({ ...requestFor(purpose), refused }, own))
        if ('error' in again) errors.push(again.error)
      }
    }
  })
  reveals(kept, { log: log.text(), terminal: text, errors })
}

/** Fails when one of the secrets was said anywhere. */
export function reveals(
  secrets: readonly string[],
  said: { readonly log: string; readonly terminal: string; readonly errors: readonly unknown[] },
): void {
  const errors = said.errors.map(everythingSaid).join('\n')
  for (const secret of secrets) {
    assert.ok(!said.log.includes(secret), 'a secret reached the log')
    assert.ok(!said.terminal.includes(secret), 'a secret reached the terminal')
    assert.ok(!errors.includes(secret), 'a secret reached an error')
  }
}
