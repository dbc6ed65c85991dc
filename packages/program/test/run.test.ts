import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

const source = join(import.meta.dirname, '../src/index.ts')
const PRELUDE = `import { PosternError } from '@postern/interface'
import { runProgram } from ${JSON.stringify(source)}
const forever = () => new Promise(() => setInterval(() => {}, 1000))
await runProgram('greet', async (program, call) => {\n`

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program whose work is this text, in a process of its own. */
function start(work: string, argv: readonly string[] = [], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', `${PRELUDE}${work}\n})`, 'greet', ...argv], {
    cwd: join(import.meta.dirname, '..'),
    env: { ...process.env, ...env },
    timeout: 15_000,
  })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', chunk => (stdout += chunk))
  child.stderr.on('data', chunk => (stderr += chunk))
  const ended: Promise<Ended> = once(child, 'close').then(([code]) => ({ code, stdout, stderr }))
  return { child, ended }
}

const run = (work: string, argv?: readonly string[], env?: NodeJS.ProcessEnv) => start(work, argv, env).ended

async function says(child: ChildProcess, word: string): Promise<void> {
  for await (const [chunk] of on(child)) if (String(chunk).includes(word)) return
}

async function* on(child: ChildProcess): AsyncGenerator<unknown[]> {
  for (;;) yield once(child.stdout as NodeJS.EventEmitter, 'data')
}

describe('how a program ends', () => {
  it.skipIf(process.platform !== 'linux')('a result that could not be written is no success', async () => {
    const full = openSync('/dev/full', 'w')
    const child = spawn(process.execPath, ['--input-type=module', '-e', `${PRELUDE}program.print('a result')\n})`], {
      cwd: join(import.meta.dirname, '..'),
      stdio: ['ignore', full, 'pipe'],
      timeout: 15_000,
    })
    closeSync(full)
    let stderr = ''
    child.stderr?.on('data', chunk => (stderr += chunk))
    const [code] = await once(child, 'close')
    expect([code, stderr]).toEqual([40, expect.stringContaining('stdout cannot be written (ENOSPC)')])
  })

  it('0 where the reader of its results has gone: it had what it wanted', async () => {
    const { child, ended } = start(`await new Promise(done => process.stdin.once('end', done).resume())
      for (let i = 0; i < 100; i++) program.print('x'.repeat(10_000))`)
    child.stdout.destroy()
    child.stdin.end()
    expect(await ended).toMatchObject({ code: 0, stderr: '' })
  })

  it('0, results on stdout and the log on stderr', async () => {
    expect(
      await run(`program.print('hello ' + program.argv[0]); program.log('info').info('greeted')`, ['you']),
    ).toEqual({
      code: 0,
      stdout: 'hello you',
      stderr: expect.stringMatching(/info {2}greeted\n$/),
    })
  })

  it('the status of the code that was thrown', async () => {
    expect(await run(`throw new PosternError('NOT_FOUND', 'there is nobody')`)).toEqual({
      code: 20,
      stdout: '',
      stderr:
        'greet: there is nobody (NOT_FOUND)\n  next     Check the hostname. If it is right, ask the application’s administrator whether you may use it.\n',
    })
  })

  it.each([
    ['thrown', `throw new TypeError('boom')`],
    ['thrown where nobody waits', `setTimeout(() => { throw new TypeError('boom') }, 1); await forever()`],
    ['rejected where nobody waits', `Promise.reject(new TypeError('boom')); await forever()`],
    [
      'emitted where nobody listens',
      `const { EventEmitter } = await import('node:events')
      setTimeout(() => new EventEmitter().emit('error', new TypeError('boom')), 1); await forever()`,
    ],
  ])('1 for what nobody foresaw, %s, without a stack trace', async (_how, work) => {
    const { code, stderr } = await run(work)
    expect(code).toBe(1)
    expect(stderr).toMatch(/^greet: boom \(INTERNAL\)\n {2}next {5}\S[^\n]+\n$/)
  })

  it('shows where that came from when asked, so that it can be reported', async () => {
    const { stderr } = await run(`program.log('debug'); throw new TypeError('boom')`)
    expect(stderr).toMatch(/\n {2}cause {4}TypeError: boom\n {2}at {7}\S+/)
  })

  it('never with a secret', async () => {
    const work = `program.redactor.add('hunter2hunter2'); program.log('debug')`
    for (const fails of [
      `throw new Error('hunter2hunter2')`,
      `setTimeout(() => { throw new PosternError('BAD_USAGE', 'hunter2hunter2') }, 1); await forever()`,
    ]) {
      const { stdout, stderr } = await run(`${work}; ${fails}`)
      expect(stderr).toContain('[redacted]')
      expect(stdout + stderr).not.toContain('hunter2')
    }
  })

  it('2 s after its work, whatever a plugin left open', async () => {
    expect((await run(`setInterval(() => {}, 1000)`)).code).toBe(0)
  })

  it('quietly when nobody reads its results any more', async () => {
    const { child, ended } = start(`process.stdin.on('data', () => program.print('x'.repeat(1e6))).on('end', () => {})
      await new Promise(resolve => process.stdin.on('end', resolve))`)
    child.stdout.destroy()
    child.stdin.write('x')
    child.stdin.end('y')
    expect(await ended).toMatchObject({ code: 0, stderr: '' })
  })
})

describe('--json', () => {
  it.each([
    [['--json'], {}],
    [['--json=true'], {}],
    [[], { POSTERN_JSON: 'true' }],
    [[], { POSTERN_JSON: '1' }],
  ])('errors and log are one JSON object a line: %j %j', async (argv, env) => {
    const { stderr } = await run(`call.log.info('up'); throw new PosternError('NOT_FOUND', 'nobody')`, argv, env)
    const [first, second] = stderr.trimEnd().split('\n')
    expect(JSON.parse(first ?? '')).toMatchObject({ level: 'info', message: 'up' })
    expect(JSON.parse(second ?? '')).toEqual({
      error: { code: 'NOT_FOUND', exit: 20, message: 'nobody', next: expect.any(String) },
    })
  })

  it.each([
    [[], {}],
    [['--no-json'], { POSTERN_JSON: 'true' }],
    [['--json=false'], {}],
    [['--jsonish'], {}],
  ])('is not meant by %j %j', async (argv, env) => {
    expect((await run(`throw new PosternError('NOT_FOUND', 'nobody')`, argv, env)).stderr).toMatch(/^greet: nobody/)
  })
})

describe('a stop', () => {
  const WAITING = `const beat = setInterval(() => {}, 1000); program.stop.gently.addEventListener('abort', () => clearInterval(beat))
    program.print('ready')\n`

  it('that the work takes as its end is 0', async () => {
    const { child, ended } = start(
      `${WAITING} await new Promise(r => program.stop.gently.addEventListener('abort', r))`,
    )
    await says(child, 'ready')
    child.kill('SIGTERM')
    expect(await ended).toMatchObject({ code: 0, stderr: '' })
  })

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('%s that ends it is %i, and no failure', async (signal, exit) => {
    const { child, ended } = start(
      `${WAITING} await new Promise((_, no) => program.stop.gently.addEventListener('abort', () => no(program.stop.gently.reason)))`,
    )
    await says(child, 'ready')
    child.kill(signal)
    expect(await ended).toMatchObject({ code: exit, stderr: '' })
  })

  it('the second ends what does not listen, too', async () => {
    const { child, ended } = start(
      `program.stop.gently.addEventListener('abort', () => program.print('once')); ${WAITING} await forever()`,
    )
    await says(child, 'ready')
    child.kill('SIGINT')
    await says(child, 'once')
    child.kill('SIGINT')
    expect(await ended).toMatchObject({ code: 130, stderr: '' })
  })
})

describe('--version', () => {
  const asked = async (...argv: string[]) => {
    const work = `import { runProgram } from ${JSON.stringify(source)}
await runProgram('greet', async program => program.print('worked\\n'), new URL('file://${join(import.meta.dirname, '../package.json')}'))`
    const child = spawn(process.execPath, ['--input-type=module', '-e', work, 'greet', ...argv], {
      cwd: join(import.meta.dirname, '..'),
      timeout: 15_000,
    })
    let stdout = ''
    child.stdout.on('data', chunk => (stdout += chunk))
    const [code] = await once(child, 'close')
    return { code, stdout }
  }

  it.each(['--version', '-V'])('%s alone prints it, and nothing is done', async flag => {
    const { code, stdout } = await asked(flag)
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^\d+\.\d+\.\d+\n$/)])
  })

  it('beside anything else it is the work’s own business', async () => {
    expect(await asked('--version', 'x')).toEqual({ code: 0, stdout: 'worked\n' })
  })
})
