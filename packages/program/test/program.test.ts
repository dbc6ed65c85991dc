import { EventEmitter } from 'node:events'
import { PosternError } from '@postern/interface'
import { describe, expect, it } from 'vitest'
import { describeFailure, exitCodeOf } from '../src/failure.ts'
import { createLog, type LogOptions } from '../src/log.ts'
import { onStop, type Stopped } from '../src/signals.ts'

function logged(options: Partial<LogOptions>, use: (log: ReturnType<typeof createLog>) => void): string {
  let text = ''
  use(
    createLog({
      level: 'info',
      json: false,
      write: line => (text += line),
      redact: line => line,
      now: () => new Date(0),
      ...options,
    }),
  )
  return text
}

describe('the log', () => {
  it('writes lines for people, values quoted where they need it', () => {
    const line = logged({}, log =>
      log.warn('no connection', {
        cause: 'nothing listens there',
        retryInMs: 812,
        edge: 'e.example:443',
        left: undefined,
      }),
    )
    expect(line).toMatch(
      /^\d\d:\d\d:\d\d warn {2}no connection cause="nothing listens there" retryInMs=812 edge=e\.example:443\n$/,
    )
  })

  it('writes one JSON object a line', () => {
    expect(JSON.parse(logged({ json: true }, log => log.info('up', { connections: 4 })))).toEqual({
      time: '1970-01-01T00:00:00.000Z',
      level: 'info',
      message: 'up',
      connections: 4,
    })
  })

  it('leaves out what is below its level, and writes what is at it', () => {
    expect(logged({ level: 'warn' }, log => log.info('x'))).toBe('')
    expect(logged({ level: 'warn' }, log => log.warn('x'))).not.toBe('')
  })

  it('lets no value write to the terminal or begin a line of its own', () => {
    const line = logged({}, log => log.info('a\u001b[2Jb', { host: 'x\n12:00:00 info  forged\u009b' }))
    expect(line).toContain('a\\x1b[2Jb')
    expect(line.trimEnd()).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/)
  })

  it('lets no value turn the direction of a line', () => {
    expect(logged({}, log => log.info('ab\u202egnp.exe', { name: 'x\u2066y\ufeff' }))).toContain(
      'ab\\u202egnp.exe name="x\\u2066y\\ufeff"',
    )
  })

  it('redacts in both forms', () => {
    const redact = (text: string) => text.replaceAll('hunter2', '[redacted]')
    for (const json of [false, true])
      expect(logged({ json, redact }, log => log.info('hunter2', { secret: 'hunter2' }))).not.toContain('hunter2')
  })
})

describe('a failure', () => {
  const denied = new PosternError('ACCESS_DENIED', 'the policy does not let you in', {
    speaker: 'edge',
    requestId: 'r-1',
    cause: new Error('inner'),
  })

  it('says what happened, who said so, the request and what to do; never a stack', () => {
    expect(describeFailure('postern', denied, { json: false, debug: false })).toBe(
      'postern: the policy does not let you in (ACCESS_DENIED, said by the edge)\n  request  r-1\n  next     Ask the application’s administrator, with the request id.\n',
    )
  })

  it('shows the chain of causes only when asked', () => {
    expect(describeFailure('postern', denied, { json: false, debug: true })).toContain('cause    Error: inner')
  })

  it('is JSON with --json', () => {
    expect(JSON.parse(describeFailure('postern', denied, { json: true, debug: false }))).toMatchObject({
      error: { code: 'ACCESS_DENIED', exit: 14, speaker: 'edge', requestId: 'r-1' },
    })
  })

  it('has the exit status of its code, and 1 for what nobody foresaw', () => {
    expect([exitCodeOf(denied), exitCodeOf(new TypeError('x')), exitCodeOf('text')]).toEqual([14, 1, 1])
  })
})

describe('stopping', () => {
  it('is gentle at the first signal and immediate at the second', () => {
    const source = new EventEmitter()
    using stop = onStop(source)
    source.emit('SIGTERM')
    expect([stop.gently.aborted, stop.now.aborted]).toEqual([true, false])
    source.emit('SIGINT')
    expect(stop.now.aborted).toBe(true)
    expect((stop.gently.reason as Stopped).exit).toBe(143)
  })

  it('is not what SIGHUP means where a program reads its files again', () => {
    const source = new EventEmitter()
    using stop = onStop(source)
    let heard = 0
    stop.onHangup(() => heard++)
    source.emit('SIGHUP')
    source.emit('SIGHUP')
    expect([heard, stop.gently.aborted]).toEqual([2, false])
    source.emit('SIGTERM')
    source.emit('SIGHUP')
    expect([heard, stop.gently.aborted, stop.now.aborted]).toEqual([3, true, false])
  })

  it('is what SIGHUP means everywhere else', () => {
    const source = new EventEmitter()
    using stop = onStop(source)
    source.emit('SIGHUP')
    expect(stop.gently.aborted).toBe(true)
  })

  it('leaves no listener', () => {
    const source = new EventEmitter()
    onStop(source)[Symbol.dispose]()
    expect(source.eventNames()).toEqual([])
  })
})
