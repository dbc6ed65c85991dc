import { request } from 'node:http'
import { APPLICATION } from '@postern/compliance'
import { describe, expect, it } from 'vitest'
import { access, call, log, provider, TEAM, tokenOf, world } from './visitor.ts'

/** What a GET, exactly so, is answered. */
function get(url: string, headers: Record<string, string> = {}, method = 'GET'): Promise<number> {
  return new Promise((resolve, reject) => {
    request(url, { method, headers, agent: false }, answer => {
      answer.resume()
      resolve(answer.statusCode ?? 0)
    })
      .on('error', reject)
      .end()
  })
}

describe('row 19: the port that the browser comes back to', () => {
  const attacks: [string, (back: URL) => Promise<number>][] = [
    [
      'another program’s code with a guessed state',
      back => get(changed(back, { state: 'f'.repeat(32), code: 'theirs' })),
    ],
    ['no state', back => get(changed(back, { state: undefined }))],
    ['another path', back => get(back.href.replace('/callback', '/callback/'))],
    ['another path, of more than one spelling', back => get(back.href.replace('/callback', '//callback'))],
    ['the answer of another issuer (RFC 9207)', back => get(changed(back, { iss: 'https://evil.example' }))],
    ['no issuer', back => get(changed(back, { iss: undefined }))],
    ['two codes', back => get(`${back.href}&code=theirs`)],
    ['a code and an error', back => get(changed(back, { error: 'access_denied' }))],
    ['a name that was pointed here (DNS rebinding)', back => get(back.href, { host: `evil.example:${back.port}` })],
    ['another method', back => get(back.href, {}, 'POST')],
  ]

  it.each(attacks)('%s is refused, and the sign-in goes on', async (_what, attack) => {
    const made = world()
    const refused: number[] = []
    made.browse = async url => {
      const back = made.team.approve(url)
      refused.push(await attack(back))
      return fetch(back)
    }
    const credential = await (await provider(made)).authenticate(access, call)
    expect(refused).toEqual([400])
    expect(tokenOf(credential)).toContain('token-1') // the twin: the person's own answer
    expect(made.team.count('/oauth/token', { grant_type: 'authorization_code' })).toBe(1)
  })

  it('a code of another request is worth nothing: it has another challenge', async () => {
    const made = world()
    made.browse = async url => {
      const theirs = new URL(url)
      theirs.searchParams.set('code_challenge', 'A'.repeat(43))
      return fetch(made.team.approve(theirs))
    }
    await expect((await provider(made)).authenticate(access, call)).rejects.toMatchObject({ code: 'LOGIN_REQUIRED' })
  })

  it('is on loopback alone, is for one answer, and is gone afterwards', async () => {
    const made = world()
    let back = new URL('http://x')
    made.browse = async url => {
      back = made.team.approve(url)
      return fetch(back)
    }
    await (await provider(made)).authenticate(access, call)
    expect(['127.0.0.1', '[::1]']).toContain(back.hostname)
    await expect(get(back.href)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  })

  it('is given up with the call', async () => {
    const made = world()
    const stop = new AbortController()
    let back = new URL('http://x')
    made.browse = async url => {
      back = made.team.approve(url)
      stop.abort(new Error('enough'))
    }
    const asked = (await provider(made)).authenticate(access, { signal: stop.signal, log })
    await expect(asked).rejects.toThrow('enough')
    await expect(get(back.href)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    made.browse = async url => fetch(made.team.approve(url))
    await (await provider(made)).authenticate(access, call) // who was stopped did not fail for others
  })
})

describe('what an application says of where to sign in', () => {
  it.each<[string, Record<string, unknown>]>([
    ['it is another application', { resource: 'https://bank.postern.test' }],
    ['it is one below it', { resource: `https://x.${APPLICATION.hostname}` }],
    ['it is a page of it', { resource: `https://${APPLICATION.hostname}/a` }],
    ['it is asked in clear text', { resource: `http://${APPLICATION.hostname}` }],
    ['nowhere', { authorization_servers: [] }],
    ['in clear text', { authorization_servers: ['http://team.postern.test'] }],
    ['with somebody’s name in it', { authorization_servers: ['https://team.postern.test@evil.example'] }],
    ['a page', { authorization_servers: ['https://team.postern.test/tenant'] }],
  ])('is not believed: %s', async (_what, resource) => {
    const made = world()
    made.team.resource = resource
    await expect((await provider(made)).authenticate(access, call)).rejects.toMatchObject({ code: 'EDGE_PROTOCOL' })
    expect(made.opened).toEqual([])
    expect(made.team.count('/oauth/token')).toBe(0)
  })

  it('may be a port of its own', async () => {
    const made = world()
    made.team.resource = { resource: `https://${APPLICATION.hostname}:8443` }
    const credential = await (await provider(made)).authenticate(access, call)
    expect(tokenOf(credential)).toBe(`token-1-of-https://${APPLICATION.hostname}:8443`)
  })

  it('is asked of the address that a refusal names, where that is its own', async () => {
    const ask = async (named: string) => {
      const made = world()
      const challenge = [`Bearer resource_metadata="${named}"`]
      const refused = { status: 401, headers: { 'www-authenticate': challenge }, credential: {} }
      await (await provider(made)).authenticate({ ...access, refused }, call)
      return made.team.seen[0]?.url.href
    }
    const own = `https://${APPLICATION.hostname}/.well-known/oauth-protected-resource`
    expect(await ask(own.replace('.test/', '.test:8443/'))).toBe(own.replace('.test/', '.test:8443/'))
    expect(await ask('https://evil.example/.well-known/oauth-protected-resource')).toBe(own)
    expect(await ask(own.replace('https:', 'http:'))).toBe(own)
  })
})

describe('what an authorization server says of itself', () => {
  it.each<[string, Record<string, unknown>]>([
    ['another issuer', { issuer: 'https://evil.example' }],
    ['a token endpoint elsewhere', { token_endpoint: 'https://evil.example/token' }],
    ['a sign-in page elsewhere', { authorization_endpoint: 'https://evil.example/authorize' }],
    ['a token endpoint in clear text', { token_endpoint: 'http://team.postern.test/oauth/token' }],
    ['no PKCE', { code_challenge_methods_supported: ['plain'] }],
  ])('is not believed: %s', async (_what, metadata) => {
    const made = world()
    Object.assign(made.team.metadata, metadata)
    await expect((await provider(made)).authenticate(access, call)).rejects.toMatchObject({ code: 'EDGE_PROTOCOL' })
    expect(made.opened).toEqual([])
  })
})

describe('a team domain that is new here', () => {
  it('is asked about before anything is sent there, and remembered', async () => {
    const questions: string[] = []
    const made = world({ answer: question => (questions.push(question) ? 'yes' : '') })
    await (await provider(made)).authenticate(access, call)
    expect(questions).toEqual([expect.stringContaining(`${APPLICATION.hostname} wants you to sign in at ${TEAM}`)])
    await (await provider(made)).signOut?.(access, call)
    await (await provider(made)).authenticate(access, call)
    expect(questions).toHaveLength(1)
  })

  it.each(['n', '', 'yess'])('that the person does not know (%j) gets nothing', async answer => {
    const made = world({ answer: () => answer })
    await expect((await provider(made)).authenticate(access, call)).rejects.toMatchObject({ code: 'LOGIN_REQUIRED' })
    expect(made.team.seen.filter(one => one.url.origin === TEAM)).toEqual([])
    expect(made.opened).toEqual([])
  })

  it.each([TEAM, 'team.postern.test'])('is not asked about where --trust-team names it: %s', async trustTeam => {
    const made = world({ answer: () => 'no' })
    await (await provider(made, { trustTeam })).authenticate(access, call)
    const twin = world({ answer: () => 'no' })
    const asked = (await provider(twin, { trustTeam: 'other.postern.test' })).authenticate(access, call)
    await expect(asked).rejects.toMatchObject({ code: 'LOGIN_REQUIRED' })
  })
})

it('row 42: no token, code or verifier is said to the person or in the log', async () => {
  const made = world()
  made.team.expiresIn = 1
  const one = await provider(made)
  const credential = await one.authenticate(access, call)
  await one.authenticate({ ...access, refused: { status: 401, headers: {}, credential } }, call).catch(() => {})
  await one.signOut?.(access, call)
  const secret = /^(code|code_verifier|refresh_token|subject_token|token|device_code)$/
  const secrets = made.team.seen.flatMap(({ fields }) =>
    Object.entries(fields).flatMap(([name, value]) => (secret.test(name) ? [value] : [])),
  )
  expect(secrets.length).toBeGreaterThan(3)
  const said = made.host.seen.join('\n') + log.text()
  for (const one of [...secrets, tokenOf(credential)]) expect(said).not.toContain(one)
})

function changed(url: URL, parameters: Readonly<Record<string, string | undefined>>): string {
  const other = new URL(url)
  for (const [name, value] of Object.entries(parameters)) {
    if (value === undefined) other.searchParams.delete(name)
    else other.searchParams.set(name, value)
  }
  return other.href
}
