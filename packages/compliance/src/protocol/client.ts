import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Call, type OptionSpecs, PosternError } from '@postern/interface'
import { KIB, MIB, reading, sendAll } from '../bytes.ts'
import { type Case, type Framework, register, testCase } from '../case.ts'
import { eventually, pause, within } from '../expect.ts'
import { carries, halfCloses, isClean, isCut, stalls } from '../flowing.ts'
import { leftOpen, resources } from '../resources.ts'
import {
  type Bridge,
  type Outcome,
  type ProtocolClientKit,
  type ProtocolClientRig,
  type ProtocolClientSubject,
  protocolClientSubject,
  type Way,
  withProtocolClient,
} from './client-rig.ts'

/** Every case for a protocol's client side that passes bytes through as they are. */
export function protocolClientCases<O extends OptionSpecs>(
  kit: Omit<ProtocolClientKit<O>, keyof Framework>,
): readonly Case[] {
  const subject = protocolClientSubject(kit)
  return (kit.ways ?? (['stdio', 'listener'] as const)).flatMap(way => [
    ...common(subject, way),
    ...(way === 'stdio' ? stdioOnly(subject) : listenerOnly(subject)),
  ])
}

/**
 * Registers {@link protocolClientCases} with a test framework.
 *
 * @example
 * protocolClientCompliance({ describe, it, client })
 */
export function protocolClientCompliance<O extends OptionSpecs>(kit: ProtocolClientKit<O>): void {
  register(kit, `protocol ${kit.client.name} (client side) keeps its contract`, protocolClientCases(kit))
}

function common(subject: ProtocolClientSubject, way: Way): readonly Case[] {
  const bridged = (name: string, body: (bridge: Bridge, rig: ProtocolClientRig) => Promise<void>, ms?: number): Case =>
    testCase(
      `${way}: ${name}`,
      call => withProtocolClient(subject, call, { way }, async rig => body(await rig.bridge(), rig)),
      ms,
    )
  return [
    bridged('bytes arrive unchanged, both ways at once', async ({ local, far }) => {
      await Promise.all([carries(local, far, 4 * MIB, 1), carries(far, local, 4 * MIB, 2)])
    }),
    bridged(
      '64 MiB arrive unchanged, both ways',
      async ({ local, far }) => {
        await carries(local, far, 64 * MIB, 1)
        await carries(far, local, 64 * MIB, 2)
      },
      60_000,
    ),
    bridged('half-close by the local program, then receive', ({ local, far }) => halfCloses(local, far, MIB)),
    bridged('half-close by the far end, then receive', ({ local, far }) => halfCloses(far, local, MIB)),
    bridged('a cut stream is never a clean end for the local program', async ({ local, stream }) => {
      const received = reading(local)
      await pause(50)
      stream.destroy(new PosternError('SESSION_LOST', 'the kit cuts'))
      await isCut(received.done)
    }),
    bridged(
      'a stream cut after the local program’s half-close is never a clean end',
      async ({ local, far, stream }) => {
        const received = reading(local)
        const atFar = reading(far)
        local.end('the question')
        await within(atFar.done, 'the half-close must arrive')
        far.write('half of the answ')
        await eventually(() => received.length > 0, 'the first half must arrive')
        stream.destroy(new PosternError('STREAM_CUT', 'the kit cuts'))
        await isCut(received.done)
      },
    ),
    bridged('a cut by the local program is never a clean end for the far end', async ({ local, far }) => {
      const received = reading(far)
      local.write('half of the questi')
      await eventually(() => received.length > 0, 'bytes must flow')
      cutLocal(local)
      await isCut(received.done)
    }),
    testCase(`${way}: bytes sent before the stream is open wait for it`, call =>
      withProtocolClient(subject, call, { way, onOpen: () => pause(300) }, async rig => {
        const local = await rig.visit()
        const hash = await sendAll(local, 10 * KIB)
        const { far } = await rig.stream()
        isClean(await within(reading(far).done, 'what was sent early must arrive'), 10 * KIB, hash)
        far.end()
      }),
    ),
    testCase(`${way}: abort before: rejects with signal.reason and opens nothing`, call =>
      withProtocolClient(subject, { signal: AbortSignal.abort(REASON), log: call.log }, { way }, async rig => {
        await endedBy(rig.outcome, REASON)
        assert.equal(rig.opens, 0, 'no stream may be opened')
      }),
    ),
    testCase(`${way}: abort while the stream is opened: rejects with signal.reason`, call =>
      withProtocolClient(subject, call, { way, onOpen: untilAborted }, async rig => {
        const received = reading(await rig.visit())
        await eventually(() => rig.opens === 1, 'a stream must be asked for')
        rig.abort(REASON)
        await endedBy(rig.outcome, REASON)
        assert.notEqual(received.end, 'clean', 'the local program must not see a clean end')
      }),
    ),
    bridged('abort ends it: rejects with signal.reason, and both ends are cut', async ({ local, far }, rig) => {
      const both = [reading(local), reading(far)]
      rig.abort(REASON)
      await endedBy(rig.outcome, REASON)
      for (const each of both) await isCut(each.done)
    }),
    bridged(
      'a far end that stops reading holds the local program back',
      ({ local, far }) => stalls(local, far),
      60_000,
    ),
    bridged(
      'a local program that stops reading holds the far end back',
      ({ local, far }) => stalls(far, local),
      60_000,
    ),
    testCase(`${way}: nothing is left open`, async call => {
      const round = (): Promise<void> =>
        withProtocolClient(subject, call, { way }, async rig => {
          const { local, far } = await rig.bridge()
          await halfCloses(local, far, KIB)
          rig.abort(REASON)
          await within(rig.outcome, 'connect() must be over')
        })
      await round()
      const before = resources()
      for (let count = 0; count < 5; count++) await round()
      assert.deepEqual(await leftOpen(before), [], 'left open')
    }),
  ]
}

function stdioOnly(subject: ProtocolClientSubject): readonly Case[] {
  const rigged = (
    name: string,
    body: (rig: ProtocolClientRig) => Promise<void>,
    onOpen: () => Promise<void> = async () => {},
  ): Case => testCase(`stdio: ${name}`, call => withProtocolClient(subject, call, { way: 'stdio', onOpen }, body))
  const refusal = new PosternError('TUNNEL_OFFLINE', 'no daemon', { requestId: 'r-1' })
  return [
    rigged('resolves when both directions are done', async rig => {
      const { local, far } = await rig.bridge()
      await halfCloses(local, far, KIB)
      const outcome = await within(rig.outcome, 'connect() must resolve when both are done')
      assert.ok(outcome.resolved, 'a clean end is no error')
    }),
    rigged(
      'a refused stream is thrown as it is',
      async rig => {
        const received = reading(await rig.visit())
        await endedBy(rig.outcome, refusal)
        assert.notEqual(received.end, 'clean', 'the local program must not see a clean end')
      },
      () => Promise.reject(refusal),
    ),
    rigged('a cut stream is thrown with its reason', async rig => {
      const { stream } = await rig.bridge()
      const reason = new PosternError('ACCESS_ENDED', 'the kit revokes')
      stream.destroy(reason)
      const outcome = await within(rig.outcome, 'connect() must be over after a cut')
      assert.ok(!outcome.resolved, 'a cut must be thrown, else the program exits with 0')
      assert.equal(PosternError.is(outcome.error) && outcome.error.code, 'ACCESS_ENDED', 'the reason must be kept')
    }),
  ]
}

function listenerOnly(subject: ProtocolClientSubject): readonly Case[] {
  const rigged = (name: string, body: (rig: ProtocolClientRig) => Promise<void>, ms?: number): Case =>
    testCase(`listener: ${name}`, call => withProtocolClient(subject, call, { way: 'listener' }, body), ms)
  return [
    rigged('serves one connection after the other', async rig => {
      for (let count = 0; count < 3; count++) {
        const { local, far } = await rig.bridge()
        await halfCloses(local, far, KIB)
      }
    }),
    rigged('a refused stream cuts that connection, is logged with its code, and the listener lives', async rig => {
      rig.onOpen = () => Promise.reject(new PosternError('TUNNEL_OFFLINE', 'no daemon', { requestId: 'r-1' }))
      await isCut(reading(await rig.visit()).done)
      await eventually(() => rig.log.text().includes('TUNNEL_OFFLINE'), 'the log must say why, with the code')
      rig.onOpen = undefined
      const { local, far } = await rig.bridge()
      await halfCloses(local, far, KIB)
    }),
    rigged('one connection that is cut leaves the others alone', async rig => {
      const [kept, cut] = [await rig.bridge(), await rig.bridge()]
      const received = reading(cut.local)
      cut.stream.destroy(new PosternError('STREAM_CUT', 'the kit cuts'))
      await isCut(received.done)
      await carries(kept.local, kept.far, 100 * KIB)
      await halfCloses(kept.local, kept.far, KIB)
    }),
    rigged(
      '200 connections at once',
      async rig => {
        const bridges: Bridge[] = []
        for (let count = 0; count < 200; count++) bridges.push(await rig.bridge())
        await Promise.all(bridges.map(({ local, far }) => halfCloses(local, far, 16 * KIB)))
      },
      40_000,
    ),
  ]
}

/** A tunnel that never answers. */
function untilAborted(call: Call): Promise<void> {
  return new Promise((_, reject) => {
    call.signal.addEventListener('abort', () => reject(call.signal.reason), { once: true })
  })
}

const REASON = new Error('the user is done')

async function endedBy(outcome: Promise<Outcome>, reason: unknown): Promise<void> {
  const ended = await within(outcome, 'connect() must be over')
  assert.ok(!ended.resolved, 'connect() must reject, and resolved')
  assert.equal(
    ended.error,
    reason,
    `connect() must reject with the very thing that ended it, not ${String(ended.error)}`,
  )
}

/** A program that is killed resets its TCP connection; on stdio its end just breaks. */
function cutLocal(local: Duplex): void {
  if ('resetAndDestroy' in local) (local as Socket).resetAndDestroy()
  else local.on('error', () => {}).destroy(new Error('the local program was killed'))
}
