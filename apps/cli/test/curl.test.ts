import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { isVerbose, refuseUnsafe } from '../src/curl-arguments.ts'
import { APP, type SsoWorld, startSsoWorld } from './sso-world.ts'

const hasCurl = spawnSync('curl', ['--version']).status === 0

describe.skipIf(!hasCurl)('access curl (needs: apt-get install curl)', () => {
  let w: SsoWorld
  beforeAll(async () => {
    w = await startSsoWorld()
    await w.login()
    w.answers.set('/away', (_request, response) =>
      response.writeHead(302, { location: `https://other.postern.test:${w.port}/taken` }).end(),
    )
    w.answers.set('/clear', (_request, response) =>
      response.writeHead(302, { location: `http://${APP}:${w.port}/taken` }).end(),
    )
    w.answers.set('/on', (_request, response) => response.writeHead(302, { location: '/there' }).end())
  })
  beforeEach(() => w.seen.splice(0))
  afterAll(() => w[Symbol.asyncDispose]())
  const url = (path: string) => `https://${APP}:${w.port}${path}`

  it('asks the application with a credential, and keeps curl’s output and exit status', async () => {
    expect(await w.run(['curl', url('/a?b=c'), '-sS', '-X', 'PUT', '-d', 'body'])).toEqual({
      code: 0,
      stdout: `hello from ${APP}/a?b=c: body`,
      stderr: '',
    })
    expect(w.seen[0]).toMatchObject({ method: 'PUT', body: 'body' })
    expect(w.seen[0]?.headers['postern-access-token']).toMatch(/^canary-token-/)
    w.answers.set('/gone', (_request, response) => response.writeHead(404).end())
    expect((await w.run(['curl', url('/gone'), '-sf'])).code).toBe(22)
  })

  it('a service token is sent the same way', async () => {
    const env = { POSTERN_SERVICE_TOKEN_ID: 'pst_1', POSTERN_SERVICE_TOKEN_SECRET: 'psts_service' }
    expect((await w.run(['curl', url('/')], env)).stdout).toContain('hello')
    expect(w.seen[0]?.headers).toMatchObject({ 'postern-client-id': 'pst_1', 'postern-client-secret': 'psts_service' })
  })

  it('row 122: no secret is in the arguments or the environment of any process', async () => {
    let found: string[] = []
    w.answers.set('/ps', (_request, response) => {
      found = [...w.secrets].filter(secret => everyProcess().some(text => text.includes(secret)))
      response.end(String(everyProcess().some(text => text.includes('/ps'))))
    })
    expect((await w.run(['curl', url('/ps'), '-sS'])).stdout).toBe('true') // the twin: what is there is seen
    expect(found).toEqual([])
  })

  it.each([
    ['another host', '/away'],
    ['clear text', '/clear'],
  ])('row 122: a redirect to %s gets nothing; one to the application itself is followed', async (_what, path) => {
    const { code } = await w.run(['curl', url(path), '-sSL'])
    expect(code).not.toBe(0)
    expect(w.seen.map(one => one.url)).toEqual([path])
    expect((await w.run(['curl', url('/on'), '-sSL'])).stdout).toContain('hello from app.postern.test/there')
  })

  it('row 122: a second address on the line gets nothing', async () => {
    await w.run(['curl', url('/one'), '-sS', `https://other.postern.test:${w.port}/two`, url('/three')])
    expect(w.seen.map(({ host, url: at }) => [host, at])).toEqual([
      [APP, '/one'],
      [APP, '/three'],
    ])
  })

  it('row 123: -v tells the headers without the credential', async () => {
    const { stderr } = await w.run(['curl', url('/'), '-sSv'])
    expect(stderr).toMatch(/postern-access-token: \[redacted\]/)
    for (const secret of w.secrets) expect(stderr).not.toContain(secret)
  })

  it('row 122: an application in clear text, or none, is told before anything is asked', async () => {
    expect((await w.run(['curl', `http://${APP}/`])).stderr).toContain('OPTION_INVALID')
    expect((await w.run(['curl', APP])).stderr).toContain('which address?')
    expect((await w.run(['curl', url('/'), '--next', 'https://other.postern.test/'])).stderr).toContain(
      'does not take --next',
    )
    expect(w.seen).toEqual([])
  })

  it('where nobody is signed in is LOGIN_REQUIRED', async () => {
    const { code, stdout } = await w.run(['curl', url('/')], { POSTERN_HOME: `${w.folder}/nobody` })
    expect([code, stdout, w.seen]).toEqual([10, '', []])
  })
})

describe('row 122: what curl is not told beside a credential', () => {
  it.each([
    ['--next'],
    ['--nex'],
    ['-:'],
    ['-s:'],
    ['--proxy', 'http://evil.test'],
    ['-xevil.test'],
    ['-sx', 'evil.test'],
    ['--socks5', 'evil.test'],
    ['-H', 'Host: evil.test'],
    ['-HHost:evil.test'],
    ['-sH', 'host : evil.test'],
    ['--header', 'HOST: evil.test'],
    ['--header=Host: evil.test'],
    ['--header', '@file'],
    ['-H', 'postern-access-token: mine'],
    ['--location-trusted'],
    ['-k'],
    ['-sSk'],
    ['--insecure'],
    ['--insec'],
    ['--config', 'file'],
    ['-K', 'file'],
    ['--connect-to', '::evil.test:'],
    ['--resolve', 'x'],
    ['--proto', '=all'],
    ['--proto-redir', '=all'],
    ['--trace', '-'],
    ['--trace-ascii', '-'],
    ['--stderr', 'file'],
    ['--libcurl', 'file'],
    ['--expand-proxy', '{{elsewhere}}'],
    ['--expand-header', 'Host: evil.test'],
    ['--expand-config', 'file'],
    ['--unix-socket', '/tmp/evil.sock'],
    ['--abstract-unix-socket', 'evil'],
  ])('%s %s', (...words) => {
    expect(() => refuseUnsafe(words)).toThrow(expect.objectContaining({ code: 'OPTION_CONFLICT' }))
  })

  it.each([
    ['-sSL'],
    ['--location'],
    ['-H', 'Accept: text/html'],
    ['-H', 'X-Host: a'],
    ['-HX-A: Host: b'],
    ['-ok'],
    ['-okx:Z'],
    ['-dkx:'],
    ['--data', 'Host: x'],
    ['--variable', 'name=value'],
    ['--head'],
    ['--retry', '3'],
    ['--compressed'],
    ['--connect-timeout', '5'],
    ['--proxy-header', 'a: b'],
    ['-w', '%{http_code}'],
  ])('but %s %s is taken', (...words) => {
    expect(() => refuseUnsafe(words)).not.toThrow()
  })

  it('-v is found wherever it stands', () => {
    expect([['-v'], ['-sSv'], ['--verbose'], ['-vo', 'x']].map(isVerbose)).toEqual([true, true, true, true])
    expect([['-ov'], ['-s'], ['--version']].map(isVerbose)).toEqual([false, false, false])
  })
})

function everyProcess(): string[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .flatMap(pid =>
      ['cmdline', 'environ'].map(file => {
        try {
          return readFileSync(`/proc/${pid}/${file}`, 'utf8')
        } catch {
          return ''
        }
      }),
    )
}
