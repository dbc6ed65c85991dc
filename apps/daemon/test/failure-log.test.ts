import tcp from '@postern/protocol-tcp/origin'
import { fakeClock, memoryEdge, openOrigin, recordingLog } from '@postern/testkit'
import type { Clock } from '@postern/tunnel'
import { expect, it } from 'vitest'
import { FailureLog } from '../src/failure-log.ts'
import { readRule, startDaemon } from '../src/index.ts'

const MINUTE = 60_000
const REFUSED = { hostname: 'db.example.com', code: 'ORIGIN_REFUSED' } as const
const UNKNOWN = { hostname: undefined, code: 'INGRESS_NOT_FOUND' } as const

function setUp() {
  const time = fakeClock()
  const clock: Clock = {
    now: time.now,
    after: (ms, run) => {
      const timer = time.setTimeout(run, ms)
      return () => time.clearTimeout(timer)
    },
    every: () => {
      throw new Error('not used')
    },
  }
  const log = recordingLog()
  return { time, log, failures: new FailureLog(log, clock) }
}

it('writes the first ten of a kind, then one line a minute with how many it left out', async () => {
  const { time, log, failures } = setUp()
  for (let at = 0; at < 1000; at++) failures.warn(REFUSED, 'stream failed', { requestId: `r-${at}` })
  expect(log.lines.map(line => line.fields.requestId)).toEqual(Array.from({ length: 10 }, (_, at) => `r-${at}`))
  await time.advance(MINUTE)
  expect(log.lines).toHaveLength(11)
  expect(log.lines.at(-1)).toMatchObject({
    level: 'warn',
    message: 'more streams failed in the same way',
    fields: { ...REFUSED, leftOut: 990 },
  })
  expect(time.pending).toBe(0)
})

it('begins again after a minute, and says nothing of a minute without any', async () => {
  const { time, log, failures } = setUp()
  for (let at = 0; at < 10; at++) failures.warn(REFUSED, 'stream failed', {})
  await time.advance(3 * MINUTE)
  expect(log.lines).toHaveLength(10)
  failures.warn(REFUSED, 'stream failed', { requestId: 'next' })
  expect(log.lines.at(-1)).toMatchObject({ fields: { requestId: 'next' } })
})

it('lets one kind not silence another, and takes all unknown hostnames for one kind', async () => {
  const { time, log, failures } = setUp()
  for (let at = 0; at < 50; at++) {
    failures.warn(REFUSED, 'stream failed', {})
    failures.warn(UNKNOWN, 'refused a stream: no ingress rule', { hostname: `${at}.example.net` })
  }
  expect(log.lines.filter(line => line.message === 'stream failed')).toHaveLength(10)
  expect(log.lines.filter(line => line.message === 'refused a stream: no ingress rule')).toHaveLength(10)
  failures.warn({ ...REFUSED, code: 'ORIGIN_TIMEOUT' }, 'stream failed', { requestId: 'timeout' })
  expect(log.lines.at(-1)).toMatchObject({ fields: { requestId: 'timeout' } })
  await time.advance(MINUTE)
  expect(log.lines.slice(-2).map(line => line.fields)).toEqual([
    { ...REFUSED, leftOut: 40 },
    { ...UNKNOWN, leftOut: 40 },
  ])
})

it('says at the end what it had not said yet, and leaves no timer', () => {
  const { time, log, failures } = setUp()
  for (let at = 0; at < 12; at++) failures.warn(REFUSED, 'stream failed', {})
  failures[Symbol.dispose]()
  expect(log.lines.at(-1)).toMatchObject({ fields: { leftOut: 2 } })
  failures.warn(REFUSED, 'stream failed', { requestId: 'late' })
  expect(log.lines.at(-1)).toMatchObject({ fields: { requestId: 'late' } })
  expect(time.pending).toBe(0)
})

it('is what a daemon writes through: two hundred refused streams are ten lines and one', async () => {
  const log = recordingLog()
  const call = { signal: AbortSignal.timeout(60_000), log }
  await using edge = await memoryEdge(log)
  await using origin = await openOrigin()
  await origin.refuse()
  const rule = readRule('db.example.com', `tcp://127.0.0.1:${origin.port}`, () => 'none')
  const rules = [{ ...rule, server: await tcp.create({}, {} as never) }]
  const url = new URL('https://edge.example.com')
  const daemon = await startDaemon(
    { edge: url, rules, auth: [], transports: [{ name: 'memory', transport: edge.transport }], connections: 1 },
    call,
  )
  for (let at = 0; at < 200; at++) {
    const header = { hostname: 'db.example.com', requestId: `r-${at}`, purpose: 'tcp' } as const
    await expect(edge.tunnels[0]?.open(header, call)).rejects.toMatchObject({ code: 'ORIGIN_REFUSED' }) // the user is told
  }
  expect(log.lines.filter(line => line.message === 'stream failed')).toHaveLength(10)
  await daemon[Symbol.asyncDispose]()
  const sums = log.lines.filter(line => line.message === 'more streams failed in the same way')
  expect(sums.map(line => line.fields)).toEqual([{ ...REFUSED, leftOut: 190 }])
})
