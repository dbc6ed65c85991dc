import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { APP, type SsoWorld, startSsoWorld, TEAM } from './sso-world.ts'

let w: SsoWorld
beforeEach(async () => {
  w = await startSsoWorld()
})
afterEach(async () => w[Symbol.asyncDispose]())

describe('access login', () => {
  it('signs in with the address that it shows, at the edge that --edge names, and says as whom', async () => {
    const { code, stdout, stderr } = await w.login()
    expect([code, stdout]).toEqual([
      0,
      expect.stringMatching(
        /^signed in to app\.postern\.test as ann@example\.com at https:\/\/team\.postern\.test:\d+, until 2100-/,
      ),
    ])
    expect(stderr).toContain('secrets are kept in') // once: no keyring is here
    const again = await w.run(['login', APP])
    expect(again.stdout).toMatch(
      /^already signed in .*\nto be somebody else: postern access logout app\.postern\.test, /,
    )
    expect(again.stderr).toBe('')
  })

  it('has all of it as JSON', async () => {
    const { stdout } = await w.login('--json')
    expect(JSON.parse(stdout)).toEqual({
      application: APP,
      already: false,
      issuer: `https://${TEAM}:${w.port}`,
      subject: 'ann',
      email: 'ann@example.com',
      expiresAt: '2100-01-01T00:00:00.000Z',
    })
  })

  it('where nobody can be asked is LOGIN_REQUIRED, with what to do', async () => {
    const { code, stderr } = await w.run(['login', `https://${APP}/some/page`])
    expect([code, stderr]).toEqual([
      10,
      expect.stringMatching(/LOGIN_REQUIRED.*\n.*postern access login https:\/\/app\.postern\.test:\d+/),
    ])
  })

  it('a sign-in that is over at the edge is none', async () => {
    await w.login()
    w.endAll()
    expect((await w.run(['login', APP, '--json'])).code).toBe(10)
  })
})

describe('access token', () => {
  it('row 123: prints the token and nothing else, also at debug; what is printed lets in', async () => {
    await w.login()
    const { code, stdout, stderr } = await w.run(['token', '--app', `https://${APP}`, '--log-level', 'debug'])
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^canary-token-[\w-]+\n$/)])
    for (const secret of w.secrets) expect(stderr).not.toContain(secret)
    expect(JSON.parse((await w.run(['token', APP, '--json'])).stdout)).toMatchObject({
      application: APP,
      token: stdout.trim(),
    })
  })

  it('never signs in by itself: it says which command does', async () => {
    const { code, stdout, stderr } = await w.run(['token', APP], { DISPLAY: ':0' })
    expect([code, stdout]).toEqual([10, ''])
    expect(stderr).toContain(`Sign in: postern access login https://${APP}`)
  })
})

describe('access logout', () => {
  it('forgets the sign-in here and ends it at the edge', async () => {
    await w.login()
    const { stdout } = await w.run(['logout', APP])
    expect(stdout).toMatch(/^signed out: ann@example\.com at https:\/\/team\.postern\.test:\d+\n$/)
    expect((await w.run(['token', APP])).code).toBe(10)
    expect((await w.run(['logout', '--all', '--json'])).stdout).toBe('{"ended":[]}\n')
  })

  it('of everything needs no application', async () => {
    await w.login()
    expect(JSON.parse((await w.run(['logout', '--all', '--json'])).stdout).ended).toEqual([
      expect.objectContaining({ email: 'ann@example.com' }),
    ])
    expect((await w.run(['logout'])).code).toBe(2)
  })
})

it('access tcp signs people in where nothing else is said; a variable of a service token says it', async () => {
  const args = ['tcp', '--hostname', APP]
  expect((await w.run(args)).stderr).toContain('LOGIN_REQUIRED')
  const { stderr } = await w.run(args, { POSTERN_SERVICE_TOKEN_ID: 'pst_1' })
  expect(stderr).toMatch(/--secret-file FILE.*OPTION_MISSING/)
})

it('row 42: no secret is in what a run says at debug', async () => {
  const said: string[] = []
  const login = await w.login('--log-level', 'debug')
  said.push(login.stderr, login.stdout)
  for (const args of [
    ['login', APP],
    ['curl', '--log-level', 'debug', `https://${APP}/`, '-sv'],
    ['logout', APP],
  ]) {
    const { stdout, stderr } = await w.run(args[0] === 'curl' ? args : [...args, '--log-level', 'debug'])
    said.push(stdout, stderr)
  }
  expect(w.secrets.size).toBeGreaterThan(3)
  for (const secret of w.secrets) expect(said.join('\n')).not.toContain(secret)
})
