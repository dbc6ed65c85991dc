import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { PosternError, problem, readProblem } from '../src/index.ts'

/** The same class from another copy of this package: what a plugin that bundles its own brings along. */
async function secondCopy(): Promise<typeof PosternError> {
  const load = async (name: string) => readFile(new URL(`../dist/${name}`, import.meta.url), 'utf8')
  const url = (source: string) =>
    `data:text/javascript,${encodeURIComponent(source.replace(/^\/\/# sourceMappingURL.*$/m, ''))}`
  const errors = (await load('errors.js'))
    .replace('"./codes.js"', `'./codes.js'`)
    .replace("'./codes.js'", JSON.stringify(url(await load('codes.js'))))
  const copy = (await import(/* @vite-ignore */ url(errors))) as { PosternError: typeof PosternError }
  return copy.PosternError
}

describe('PosternError', () => {
  test('says what happened, what to do, and keeps its cause', () => {
    const cause = new Error('ECONNREFUSED')
    const error = new PosternError('ORIGIN_REFUSED', 'nothing listens on localhost:22', {
      cause,
      speaker: 'daemon',
      requestId: 'r1',
    })
    expect(error).toMatchObject({
      name: 'PosternError',
      code: 'ORIGIN_REFUSED',
      cause,
      speaker: 'daemon',
      requestId: 'r1',
      next: expect.stringContaining('Start the service'),
    })
    expect(new PosternError('ORIGIN_REFUSED', 'x', { next: 'start sshd' }).next).toBe('start sshd')
    expect('cause' in new PosternError('INTERNAL', 'x')).toBe(false)
  })

  test('keeps of a refusal what the edge said, not the credential that a provider is handed with it', () => {
    const refused = {
      status: 401,
      headers: { 'www-authenticate': ['Negotiate'] },
      credential: { headers: { k: 'secret' } },
    }
    const error = new PosternError('AUTH_REJECTED', 'no', { refusal: refused })
    expect(error.refusal).toEqual({ status: 401, headers: { 'www-authenticate': ['Negotiate'] } })
    expect(new PosternError('AUTH_REJECTED', 'no').refusal).toBeUndefined()
  })

  test('is recognised by its brand, across two copies of this package', async () => {
    const Other = await secondCopy()
    const error = new Other('AUTH_REJECTED', 'no')
    expect(Other).not.toBe(PosternError)
    expect(error instanceof PosternError).toBe(false)
    expect(PosternError.is(error)).toBe(true)
    expect(Other.is(new PosternError('AUTH_REJECTED', 'no'))).toBe(true)
    expect(PosternError.from(error)).toBe(error)
  })

  test.each([
    undefined,
    null,
    'PosternError',
    7,
    new Error('x'),
    { code: 'AUTH_REJECTED', name: 'PosternError' },
    () => {},
  ])('%s is none', value => {
    expect(PosternError.is(value)).toBe(false)
  })

  test('the brand is not in what is logged or serialised', () => {
    expect(Object.keys(new PosternError('INTERNAL', 'x'))).not.toContain(Symbol.for('postern.error'))
    expect(
      JSON.stringify(Object.getOwnPropertySymbols(structuredClone({ ...new PosternError('INTERNAL', 'x') }))),
    ).toBe('[]')
  })

  test('from keeps ours and wraps everything else', () => {
    const ours = new PosternError('NOT_FOUND', 'x')
    expect(PosternError.from(ours, 'STREAM_CUT')).toBe(ours)
    const newer = Object.assign(new PosternError('NOT_FOUND', 'x'), { code: 'OF_TOMORROW' })
    expect(PosternError.from(newer)).toMatchObject({ code: 'INTERNAL', message: 'x', cause: newer })
    const theirs = new TypeError('bad')
    expect(PosternError.from(theirs)).toMatchObject({ code: 'INTERNAL', message: 'bad', cause: theirs })
    expect(PosternError.from('text', 'STREAM_CUT', { speaker: 'edge' })).toMatchObject({
      code: 'STREAM_CUT',
      message: 'text',
      speaker: 'edge',
      cause: 'text',
    })
    expect(PosternError.from(undefined)).toMatchObject({ code: 'INTERNAL', message: 'undefined' })
  })
})

describe('problems on the wire', () => {
  test('go out with the catalogue’s words and come back the same', () => {
    const out = problem('TUNNEL_OFFLINE', 'r-1', { speaker: 'edge', detail: 'no connector of "db"' })
    expect(out).toMatchObject({
      code: 'TUNNEL_OFFLINE',
      status: 503,
      requestId: 'r-1',
      speaker: 'edge',
      detail: 'no connector of "db"',
    })
    expect(readProblem(JSON.parse(JSON.stringify(out)))).toEqual(out)
    expect(PosternError.fromProblem(out)).toMatchObject({
      code: 'TUNNEL_OFFLINE',
      message: 'no connector of "db"',
      requestId: 'r-1',
      speaker: 'edge',
      next: out.next,
    })
    expect(problem('STREAM_CUT', 'r').status).toBe(500)
  })

  test('an error from one says who spoke: the problem, else the caller, else the edge', () => {
    const bare = problem('ACCESS_DENIED', 'r')
    expect(PosternError.fromProblem({ ...bare, requestId: '' }).requestId).toBeUndefined()
    expect(PosternError.fromProblem(bare).speaker).toBe('edge')
    expect(PosternError.fromProblem(bare, { speaker: 'daemon' }).speaker).toBe('daemon')
    expect(PosternError.fromProblem({ ...bare, speaker: 'service' }, { speaker: 'daemon' }).speaker).toBe('service')
  })

  test.each([
    undefined,
    null,
    'x',
    1,
    [],
    {},
    { code: 'NOT_FOUND' },
    { code: 1, title: 'x' },
    { code: 'NOT_FOUND', title: 1 },
  ])('%j is none', value => {
    expect(readProblem(value)).toBeUndefined()
  })

  test('nor does it turn the direction of what is read, or end a line in another way; its twin stays as it is', () => {
    const told = (detail: string) => readProblem({ code: 'ORIGIN_REFUSED', title: 'x', detail })?.detail
    for (const mark of ['\u202e', '\u2066', '\u200f', '\u061c', '\u2028', '\u2029', '\u0085', '\u009b', '\ufeff'])
      expect(told(`a${mark}b`)).toBe('a b')
    expect(told('a\ud800b')).toBe('a\ufffdb')
    // With the joiner that Persian is spelt with.
    expect(told('سرور در دسترس نمی‌باشد — 接続できません 🙂')).toBe('سرور در دسترس نمی‌باشد — 接続できません 🙂')
  })

  test('hostile ones are made harmless', () => {
    const hostile = readProblem({
      code: 'constructor',
      status: 1e9,
      title: `\u001b[2J${'x'.repeat(5000)}`,
      next: '\u0007run rm\u009b',
      requestId: { a: 1 },
      speaker: 'root',
      detail: 'a\r\nb\u0000',
      extra: 'y',
    })
    expect(hostile).toMatchObject({ code: 'INTERNAL', status: 500, next: ' run rm ', requestId: '', detail: 'a  b ' })
    expect(hostile?.title).toHaveLength(1024)
    expect(JSON.stringify(Object.values(hostile ?? {}).join(''))).not.toMatch(/[\u0000-\u001f]|\\u00/)
    expect(Object.keys(hostile ?? {}).sort()).toEqual(['code', 'detail', 'next', 'requestId', 'status', 'title'])
  })

  test('of a newer Postern keep their text', () => {
    expect(readProblem({ code: 'MOON_PHASE', title: 'The moon is full', status: 418 })).toMatchObject({
      code: 'INTERNAL',
      title: 'The moon is full',
      status: 418,
    })
  })
})
