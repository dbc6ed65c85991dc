import { APPLICATION, authClientCompliance } from '@postern/compliance'
import { PosternError } from '@postern/interface'
import { describe, expect, it } from 'vitest'
import plugin from '../src/client.ts'
import { access, alone, call, log, OPTIONS, provider, TEAM, tokenOf, world } from './visitor.ts'

const APP = `https://${APPLICATION.hostname}`

authClientCompliance({
  describe,
  it,
  client: plugin,
  clientOptions: OPTIONS,
  purposes: ['access'],
  clientHost: () => world().host,
})

describe('a person who is not signed in', () => {
  it('signs in with the browser, and is let in by a token for this application', async () => {
    const { team, host, opened } = world()
    const credential = await (await provider({ host })).authenticate(access, call)
    expect(tokenOf(credential)).toBe(`token-1-of-${APP}`)
    expect(credential.account).toMatchObject({ issuer: TEAM, subject: 'ann', email: 'ann@example.com' })
    expect(opened).toHaveLength(1)
    expect(host.seen).toContain(opened[0]?.href) // the address is always shown
    expect(host.seen.join('\n')).toMatch(/Signed in at https:\/\/team\.postern\.test as ann@example\.com/)
    expect(opened[0]?.searchParams.get('resource')).toBe(APP)
    expect(team.seen.find(one => one.fields.resource)?.fields).toMatchObject({ client_id: 'postern', resource: APP })
  })

  it('signs in once for all applications of the team', async () => {
    const { host, opened, team } = world()
    const other = { purpose: 'access', app: { ...APPLICATION, hostname: 'other.postern.test' } } as const
    await (await provider({ host })).authenticate(access, call)
    expect(tokenOf(await (await provider({ host })).authenticate(other, call))).toBe(
      'token-2-of-https://other.postern.test',
    )
    expect(opened).toHaveLength(1)
    const asked = team.seen.length
    await (await provider({ host })).authenticate(other, call)
    expect(team.seen).toHaveLength(asked) // a token that is good is used as it is
  })

  it('is told when no browser came, and with --no-browser none is opened', async () => {
    const made = world()
    const ui = made.host.ui
    made.host.ui = { ...ui, open: async url => (await ui.open(url)) && false }
    await (await provider(made)).authenticate(access, call)
    expect(made.host.seen.join('\n')).toContain('No browser could be opened here')
    const twin = world()
    twin.host.ui = { ...twin.host.ui, show: line => void (line.startsWith(TEAM) && twin.browse(new URL(line))) }
    await (await provider(twin, { browser: false })).authenticate(access, call)
    expect(twin.opened).toEqual([])
  })

  it('who says no is LOGIN_REQUIRED; who waited for that sign-in does not begin another', async () => {
    const made = world()
    made.browse = async url => {
      const back = made.team.approve(url)
      back.searchParams.delete('code')
      back.searchParams.set('error', 'access_denied')
      return fetch(back)
    }
    const results = await Promise.allSettled(
      Array.from({ length: 5 }, async () => (await provider(made)).authenticate(access, call)),
    )
    for (const one of results) expect(one).toMatchObject({ status: 'rejected', reason: { code: 'LOGIN_REQUIRED' } })
    expect(made.opened).toHaveLength(1)
    made.browse = async url => fetch(made.team.approve(url))
    await (await provider(made)).authenticate(access, call) // a new command is another try
  })

  it('where nobody can be asked is LOGIN_REQUIRED at once, with the command; the twin asks', async () => {
    const { host, opened } = world()
    await expect((await provider({ host: alone(host) })).authenticate(access, call)).rejects.toMatchObject({
      code: 'LOGIN_REQUIRED',
      next: `Sign in: postern access login ${APP}`,
    })
    expect(opened).toEqual([])
    await (await provider({ host })).authenticate(access, call)
    const quiet = await (await provider({ host: alone(host) })).authenticate(access, call)
    expect(tokenOf(quiet)).toContain('token-1')
  })

  it('50 at once lead to one sign-in', async () => {
    const made = world()
    const all = await Promise.all(
      Array.from({ length: 50 }, async () => (await provider(made)).authenticate(access, call)),
    )
    expect(new Set(all.map(tokenOf)).size).toBe(1)
    expect([made.opened.length, made.team.sessions.length]).toEqual([1, 1])
  })
})

describe('a sign-in that is kept', () => {
  it('is renewed where its access token has expired, and the new refresh token is kept before it is used', async () => {
    const made = world()
    made.team.expiresIn = 1
    await (await provider(made)).authenticate(access, call)
    const order: string[] = []
    const { set } = made.host.secrets
    made.host.secrets = {
      ...made.host.secrets,
      set: async (key, value) => {
        order.push(key)
        await set(key, value)
      },
    }
    const { fetch: before } = made.team
    made.host.fetch = async (url, init) => {
      if (String(init.body).includes('token-exchange')) order.push('exchange')
      return before(url, init)
    }
    await (await provider(made)).authenticate(access, call)
    expect(made.opened).toHaveLength(1)
    expect(order.slice(0, 2)).toEqual(['browser-sso.team.team.postern.test', 'exchange'])
    const kept = made.host.stored.get('browser-sso.team.team.postern.test') ?? ''
    expect(JSON.parse(kept).signIn.refreshToken).toBe(made.team.sessions[0]?.refreshToken)
  })

  it('a process that was killed between rotation and keeping signs nobody out', async () => {
    const made = world()
    made.team.expiresIn = 1
    await (await provider(made)).authenticate(access, call)
    const before = new Map(made.host.stored)
    await (await provider(made)).authenticate(access, call) // rotates
    for (const [key, value] of before) await made.host.secrets.set(key, value) // as if it had not been written
    await (await provider(made)).authenticate(access, call)
    expect(made.opened).toHaveLength(1)
  })

  it('that is over at the edge leads to another', async () => {
    const made = world()
    const one = await provider(made)
    const credential = await one.authenticate(access, call)
    made.team.endAll()
    const refused = { status: 401, headers: {}, credential }
    const next = await one.authenticate({ ...access, refused }, call)
    expect(made.opened).toHaveLength(2)
    expect(tokenOf(next)).not.toBe(tokenOf(credential))
  })

  it('a token that was refused is exchanged anew, once', async () => {
    const made = world()
    const one = await provider(made)
    const credential = await one.authenticate(access, call)
    const next = await one.authenticate({ ...access, refused: { status: 401, headers: {}, credential } }, call)
    expect([tokenOf(next), made.opened.length]).toEqual([`token-2-of-${APP}`, 1])
    const again = one.authenticate({ ...access, refused: { status: 401, headers: {}, credential: next } }, call)
    await expect(again).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
  })

  it('that is too old for an application is made again, as somebody who proves it', async () => {
    const made = world()
    await (await provider(made)).authenticate(access, call)
    await made.host.secrets.delete(`browser-sso.application.${APPLICATION.hostname}`)
    made.team.refusals.push('login_required')
    await (await provider(made)).authenticate(access, call)
    expect(made.opened.map(url => url.searchParams.get('prompt'))).toEqual([null, 'login'])
    // What the one before opened goes on, until somebody signs out.
    expect(made.team.sessions.map(session => session.over)).toEqual([false, false])
    await (await provider(made)).signOut?.(access, call)
    expect(made.team.sessions.map(session => session.over)).toEqual([true, true])
  })

  it('of another person takes the place of the one before, which ends', async () => {
    const made = world()
    await (await provider(made)).authenticate(access, call)
    await made.host.secrets.delete(`browser-sso.application.${APPLICATION.hostname}`)
    made.team.refusals.push('login_required')
    made.team.person = 'bob'
    await (await provider(made)).authenticate(access, call)
    expect(made.team.sessions.map(session => session.over)).toEqual([true, false])
  })

  it('made again and again leaves no more than five open', async () => {
    const made = world()
    for (let at = 0; at < 7; at++) {
      if (at > 0) made.team.refusals.push('login_required')
      await made.host.secrets.delete(`browser-sso.application.${APPLICATION.hostname}`)
      await (await provider(made)).authenticate(access, call)
    }
    expect(made.team.sessions.map(session => session.over)).toEqual([true, true, ...Array(5).fill(false)])
  })

  it.each([
    ['access_denied', 'ACCESS_DENIED'],
    ['invalid_target', 'NOT_FOUND'],
    ['temporarily_unavailable', 'EDGE_UNAVAILABLE'],
    ['server_error', 'AUTH_REJECTED'],
  ])('%s is %s, with the request id, and asks nobody again', async (error, code) => {
    const made = world()
    made.team.refusals.push(error)
    await expect((await provider(made)).authenticate(access, call)).rejects.toMatchObject({
      code,
      requestId: 'request-1',
    })
    expect(made.opened).toHaveLength(1)
  })
})

describe('signing out', () => {
  it('ends it here and at the edge, with every token of it', async () => {
    const made = world()
    const one = await provider(made)
    await one.authenticate(access, call)
    expect(await one.signOut?.(access, call)).toEqual([expect.objectContaining({ email: 'ann@example.com' })])
    expect(made.team.sessions[0]?.over).toBe(true)
    expect([...made.host.stored.keys()]).toEqual(['browser-sso.teams'])
    await expect((await provider({ host: alone(made.host) })).authenticate(access, call)).rejects.toMatchObject({
      code: 'LOGIN_REQUIRED',
    })
    expect(await one.signOut?.(access, call)).toEqual([])
  })

  it('of all teams works from what is kept, and where the edge cannot be told says so', async () => {
    const made = world()
    const one = await provider(made)
    await one.authenticate(access, call)
    made.team.instead.set('/oauth/revoke', () => new Response('{}', { status: 500 }))
    expect(await one.signOut?.(undefined, call)).toHaveLength(1)
    expect([...made.host.stored.keys()]).toEqual(['browser-sso.teams'])
    expect(log.text()).toContain('the edge could not be told')
  })
})

describe('a device without a browser', () => {
  it('shows a code and waits: slower when told to', async () => {
    const made = world()
    made.team.deviceAnswers.push('authorization_pending', 'authorization_pending')
    const credential = await (await provider(made, { device: true })).authenticate(access, call)
    expect(tokenOf(credential)).toBe(`token-1-of-${APP}`)
    expect(made.host.seen.join('\n')).toMatch(
      /open https:\/\/team\.postern\.test\/device and type the code\n +BCDF-GHJK/,
    )
    expect(made.opened).toEqual([])
  })

  it.each(['access_denied', 'expired_token'])('%s is LOGIN_REQUIRED', async answer => {
    const made = world()
    made.team.deviceAnswers.push(answer)
    const asked = (await provider(made, { device: true })).authenticate(access, call)
    await expect(asked).rejects.toMatchObject({ code: 'LOGIN_REQUIRED' })
  })
})

it('is no daemon’s', async () => {
  const asked = (await provider(world())).authenticate({ purpose: 'connector', teamDomain: 'team.postern.test' }, call)
  await expect(asked).rejects.toSatisfy(error => PosternError.is(error) && error.code === 'BAD_USAGE')
})
