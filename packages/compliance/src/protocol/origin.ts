import assert from 'node:assert/strict'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Call, type Code, type OptionSpecs, PosternError } from '@postern/interface'
import { Flow, KIB, MIB, reading, sendAll } from '../bytes.ts'
import { type Case, type Framework, register, testCase } from '../case.ts'
import { eventually, pause, within } from '../expect.ts'
import { carries, halfCloses, isClean, isCut, stalls } from '../flowing.ts'
import { memoryPair } from '../memory-pair.ts'
import { leftOpen, resources } from '../resources.ts'
import {
  type ProtocolOriginKit,
  type ProtocolOriginRig,
  type ProtocolOriginSubject,
  protocolOriginSubject,
  type Served,
  withProtocolOrigin,
} from './origin-rig.ts'

/** Every case for a protocol's origin side that passes bytes through as they are. */
export function protocolOriginCases<O extends OptionSpecs>(
  kit: Omit<ProtocolOriginKit<O>, keyof Framework>,
): readonly Case[] {
  const subject = protocolOriginSubject(kit)
  return [...answering(subject), ...carrying(subject), ...ending(subject)]
}

/**
 * Registers {@link protocolOriginCases} with a test framework.
 *
 * @example
 * protocolOriginCompliance({ describe, it, origin, service: new URL('ssh://localhost:22') })
 */
export function protocolOriginCompliance<O extends OptionSpecs>(kit: ProtocolOriginKit<O>): void {
  register(kit, `protocol ${kit.origin.name} (origin side) keeps its contract`, protocolOriginCases(kit))
}

const REFUSALS: readonly Code[] = [
  'ORIGIN_REFUSED',
  'ORIGIN_NOT_RESOLVED',
  'ORIGIN_TIMEOUT',
  'ORIGIN_UNREACHABLE',
  'DESTINATION_FORBIDDEN',
]

const REASON = new Error('the kit aborts')

function rigged(
  subject: ProtocolOriginSubject,
  name: string,
  body: (rig: ProtocolOriginRig) => Promise<void>,
  ms?: number,
): Case {
  return testCase(name, call => withProtocolOrigin(subject, call, body), ms)
}

/** Before there are bytes: dial, then say yes. */
function answering(subject: ProtocolOriginSubject): readonly Case[] {
  return [
    rigged(subject, 'dials first, then accepts, each once', async rig => {
      rig.onDial = async () => {
        await pause(200)
        return rig.connect()
      }
      const { user, outcome, steps } = rig.serve()
      await pause(100)
      assert.deepEqual(steps, ['dial'], 'nothing may be promised before the service answered')
      await halfCloses(user, await rig.service(), KIB)
      await within(outcome, 'serve() must be over')
      assert.deepEqual(steps, ['dial', 'accept'])
    }),
    rigged(subject, 'a refusal is thrown as it is, and nothing is accepted', async rig => {
      for (const code of REFUSALS) {
        const refusal = new PosternError(code, 'the kit refuses', { speaker: 'daemon' })
        rig.onDial = () => Promise.reject(refusal)
        const { outcome, steps } = rig.serve()
        await throws(outcome, refusal)
        assert.deepEqual(steps, ['dial'], `${code}: accept() would tell the user that all is well`)
      }
    }),
    rigged(subject, 'when the user has left, the service’s connection is closed', async rig => {
      const left = new PosternError('STREAM_CUT', 'the user has left')
      rig.onAccept = () => {
        throw left
      }
      await throws(rig.serve().outcome, left)
      await eventually(() => rig.connections === 0, 'the service’s connection must be closed')
    }),
    rigged(subject, 'abort before: rejects with signal.reason, dials and accepts nothing', async rig => {
      rig.abort(REASON)
      const { outcome, steps } = rig.serve()
      await throws(outcome, REASON)
      assert.ok(!steps.includes('accept'), 'nothing may be accepted')
      assert.equal(rig.connections, 0, 'nothing may be connected')
    }),
    rigged(subject, 'abort while dialling: rejects with signal.reason, accepts nothing', async rig => {
      rig.onDial = untilAborted
      const { outcome, steps } = rig.serve()
      await eventually(() => steps.includes('dial'), 'the service must be dialled')
      rig.abort(REASON)
      await throws(outcome, REASON)
      assert.deepEqual(steps, ['dial'], 'nothing may be accepted')
    }),
    rigged(subject, 'abort while dialling: a connection that comes too late is closed', async rig => {
      rig.onDial = async () => {
        await pause(300)
        return rig.connect()
      }
      const { outcome } = rig.serve()
      await pause(50)
      rig.abort(REASON)
      await throws(outcome, REASON)
      await rig.service()
      await eventually(() => rig.connections === 0, 'a connection that came too late must be closed')
    }),
    rigged(subject, 'reaches its service through remote.dial and nothing else', async rig => {
      let connected = 0
      const watch = (): void => void connected++
      subscribe('net.client.socket', watch)
      try {
        const [near, far] = memoryPair()
        rig.onDial = async () => near
        const { user, outcome } = rig.serve()
        await halfCloses(user, far, KIB)
        await within(outcome, 'serve() must be over')
      } finally {
        unsubscribe('net.client.socket', watch)
      }
      assert.equal(connected, 0, 'a connection was made behind the host’s back')
    }),
  ]
}

function carrying(subject: ProtocolOriginSubject): readonly Case[] {
  const both = (name: string, body: (served: Served) => Promise<void>, ms?: number): Case =>
    rigged(subject, name, async rig => body(await rig.served()), ms)
  return [
    both('bytes arrive unchanged, both ways at once', async ({ user, service }) => {
      await Promise.all([carries(user, service, 4 * MIB, 1), carries(service, user, 4 * MIB, 2)])
    }),
    both(
      '64 MiB arrive unchanged, both ways',
      async ({ user, service }) => {
        await carries(user, service, 64 * MIB, 1)
        await carries(service, user, 64 * MIB, 2)
      },
      60_000,
    ),
    rigged(subject, 'bytes sent before the service answers wait for it', async rig => {
      rig.onDial = async () => {
        await pause(200)
        return rig.connect()
      }
      const { user } = rig.serve()
      const hash = await sendAll(user, 10 * KIB)
      const service = await rig.service()
      isClean(await within(reading(service).done, 'what was sent early must arrive'), 10 * KIB, hash)
      service.end()
    }),
    both('a service that stops reading holds the user back', ({ user, service }) => stalls(user, service), 60_000),
    both('a user who stops reading holds the service back', ({ user, service }) => stalls(service, user), 60_000),
    rigged(
      subject,
      '200 streams at once',
      async rig => {
        const served: Served[] = []
        for (let count = 0; count < 200; count++) served.push(await rig.served())
        await Promise.all(served.map(({ user, service }) => halfCloses(user, service, 16 * KIB)))
      },
      40_000,
    ),
  ]
}

function ending(subject: ProtocolOriginSubject): readonly Case[] {
  const both = (name: string, body: (served: Served, rig: ProtocolOriginRig) => Promise<void>): Case =>
    rigged(subject, name, async rig => body(await rig.served(), rig))
  return [
    both('half-close by the user, then receive 10 MiB', ({ user, service }) => halfCloses(user, service, 10 * MIB)),
    both('half-close by the service, then send 10 MiB', ({ user, service }) => halfCloses(service, user, 10 * MIB)),
    both(
      'resolves when both directions are done, and closes the connection',
      async ({ user, service, outcome }, rig) => {
        await halfCloses(user, service, KIB)
        assert.ok(
          (await within(outcome, 'serve() must resolve when both are done')).resolved,
          'a clean end is no error',
        )
        await eventually(() => rig.connections === 0, 'the service’s connection must be closed')
      },
    ),
    both('a cut by the user is never a clean end for the service', async ({ user, service, outcome }) => {
      const received = reading(service)
      user.write('half of the questi')
      await eventually(() => received.length > 0, 'bytes must flow')
      user.destroy(new Error('the kit cuts'))
      await isCut(received.done)
      await within(outcome, 'serve() must be over after a cut')
    }),
    both('a cut by the service is never a clean end for the user', async ({ user, service, outcome }) => {
      const received = reading(user)
      void new Flow(service).send(4 * MIB)
      await eventually(() => received.length > 0, 'bytes must flow')
      reset(service)
      await isCut(received.done)
      await within(outcome, 'serve() must be over after a cut')
    }),
    both('a cut by the service after the user’s half-close is never a clean end', async ({ user, service }) => {
      const [received, asked] = [reading(user), reading(service)]
      user.end('the question')
      await within(asked.done, 'the half-close must arrive')
      service.write('half of the answ')
      await eventually(() => received.length > 0, 'the first half must arrive')
      reset(service)
      await isCut(received.done)
    }),
    both('a cut by the user after the service’s half-close is never a clean end', async ({ user, service }) => {
      const [received, told] = [reading(service), reading(user)]
      service.end('hello')
      await within(told.done, 'the half-close must arrive')
      user.write('half of the answ')
      await eventually(() => received.length > 0, 'the first half must arrive')
      user.destroy(new Error('the kit cuts'))
      await isCut(received.done)
    }),
    both(
      'abort ends it: rejects with signal.reason, and both ends are cut',
      async ({ user, service, outcome }, rig) => {
        const ends = [reading(user), reading(service)]
        await pause(50)
        rig.abort(REASON)
        await throws(outcome, REASON)
        for (const each of ends) await isCut(each.done)
      },
    ),
    testCase('nothing is left open', async call => {
      const round = (): Promise<void> =>
        withProtocolOrigin(subject, call, async rig => {
          const good = await rig.served()
          await halfCloses(good.user, good.service, KIB)
          const cut = await rig.served()
          reset(cut.service)
          await within(cut.outcome, 'serve() must be over after a cut')
          await eventually(() => rig.connections === 0, 'every connection must be closed')
        })
      await round()
      const before = resources()
      for (let count = 0; count < 5; count++) await round()
      assert.deepEqual(await leftOpen(before), [], 'left open')
    }),
  ]
}

function reset(service: Duplex): void {
  ;(service as Socket).resetAndDestroy()
}

function untilAborted(call: Call): Promise<never> {
  return new Promise((_, reject) => {
    call.signal.addEventListener('abort', () => reject(call.signal.reason), { once: true })
  })
}

async function throws(outcome: Served['outcome'], reason: unknown): Promise<void> {
  const ended = await within(outcome, 'serve() must be over')
  assert.ok(!ended.resolved, 'serve() must reject, and resolved')
  assert.equal(ended.error, reason, `serve() must reject with the very thing that ended it, not ${String(ended.error)}`)
}
