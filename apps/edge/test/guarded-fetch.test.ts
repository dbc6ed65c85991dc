import { createServer, type RequestListener, type Server } from 'node:http'
import { createServer as createTls } from 'node:https'
import { type AddressInfo, createServer as createTcp } from 'node:net'
import { createAuthority } from '@postern/pki'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { guardedFetch, isPublic, MOST_BYTES } from '../src/guarded-fetch.ts'

const stops: (() => void)[] = []
let asked: string[]
beforeEach(() => {
  asked = []
})
afterEach(() => {
  vi.restoreAllMocks()
  for (const stop of stops.splice(0)) stop()
})

async function listen(server: Server): Promise<number> {
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  stops.push(() => {
    server.close()
    server.closeAllConnections()
  })
  return (server.address() as AddressInfo).port
}

/** An identity provider of the lab, on this machine. */
async function serve(listener: RequestListener): Promise<string> {
  const port = await listen(
    createServer((request, response) => {
      asked.push(`${request.method} ${request.url}`)
      listener(request, response)
    }),
  )
  return `http://localhost:${port}`
}

const get = (url: string, allowPrivate: readonly string[] = [], init: RequestInit = {}) =>
  guardedFetch({ allowPrivate })(new URL(url), { signal: AbortSignal.timeout(20_000), ...init })

describe('row 108: the edge asks', () => {
  test.each([
    'https://127.0.0.1/',
    'https://127.1/',
    'https://0x7f000001/',
    'https://2130706433/',
    'https://0177.0.0.1/',
    'https://localhost/',
    'https://[::1]/',
    'https://[::ffff:10.0.0.1]/',
    'https://[fe80::1]/',
    'https://[fd00::1]/',
    'https://[64:ff9b::a00:1]/',
    'https://[2002:a00:1::]/',
    'https://169.254.169.254/latest/meta-data/',
    'https://10.0.0.1/',
    'https://172.31.255.255/',
    'https://192.168.1.1/',
    'https://100.64.0.1/',
    'https://0.0.0.0/',
    'https://224.0.0.1/',
    'http://example.com/',
    'file:///etc/passwd',
    'ftp://example.com/',
    'https://user:word@example.com/',
  ])('nothing at %s', async url => {
    await expect(get(url)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })

  test('the allow twin: addresses that are given out; neighbours of those that are not', () => {
    for (const address of ['1.1.1.1', '9.255.255.255', '172.32.0.0', '192.169.0.1', '100.128.0.1', '223.255.255.255'])
      expect(isPublic({ address, family: 4 }), address).toBe(true)
    for (const address of ['2606:4700::1111', '2a00:1450::1', '2001:4860:4860::8888'])
      expect(isPublic({ address, family: 6 }), address).toBe(true)
    for (const address of ['2001:db8::1', '2001::1', 'ff02::1', '::', '::ffff:1.1.1.1', '3fff::1'])
      expect(isPublic({ address, family: 6 }), address).toBe(false)
  })

  test('a host that is allowed, and no other on the same machine', async () => {
    const url = await serve((_request, response) => response.end('{"ok":true}'))
    const answer = await get(url, [new URL(url).host])
    expect([answer.status, await answer.json()]).toEqual([200, { ok: true }])
    await expect(get(url)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    await expect(get(url.replace('localhost', '127.0.0.1'), ['localhost'])).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    })
    expect(asked).toEqual(['GET /'])
  })

  test('the address that was judged: a name is looked up once', async () => {
    const dns = await import('node:dns')
    const url = await serve((_request, response) => response.end('x'))
    const later = vi.spyOn(dns.default, 'lookup')
    expect((await get(url, ['localhost'])).status).toBe(200)
    expect(later).not.toHaveBeenCalled()
  })

  test('what it sends is what it was given', async () => {
    const bodies: string[] = []
    const url = await serve(async (request, response) => {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk as Buffer)
      bodies.push(`${request.headers['content-type']} ${request.headers.authorization} ${Buffer.concat(chunks)}`)
      response.writeHead(201, { 'x-many': ['a', 'b'] }).end()
    })
    const body = new URLSearchParams({ grant_type: 'x', code: 'a b' })
    const answer = await get(url, ['localhost'], { method: 'POST', body, headers: { authorization: 'Basic eA==' } })
    expect([answer.status, answer.headers.get('x-many')]).toEqual([201, 'a, b'])
    expect(bodies).toEqual(['application/x-www-form-urlencoded;charset=UTF-8 Basic eA== grant_type=x&code=a+b'])
  })
})

describe('row 21: what answers badly', () => {
  test('too much', async () => {
    const url = await serve((_request, response) => response.end(Buffer.alloc(MOST_BYTES + 1)))
    await expect(get(url, ['localhost'])).rejects.toMatchObject({ code: 'EDGE_UNAVAILABLE' })
    const most = await serve((_request, response) => response.end(Buffer.alloc(MOST_BYTES)))
    expect((await (await get(most, ['localhost'])).arrayBuffer()).byteLength).toBe(MOST_BYTES)
  })

  test('compressed, so that little is much', async () => {
    const url = await serve((_request, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' }).end('x')
    })
    await expect(get(url, ['localhost'])).rejects.toMatchObject({ code: 'EDGE_UNAVAILABLE' })
  })

  test('elsewhere: a redirect stays at its origin, and ends', async () => {
    const other = await serve((_request, response) => response.end('theirs'))
    let to = ''
    const url = await serve((request, response) => {
      if (request.url === '/end') response.end('here')
      else response.writeHead(302, { location: to }).end()
    })
    for (to of [other, 'file:///etc/passwd', 'http://169.254.169.254/', '//evil.example/', 'http://', '/again'])
      await expect(get(url, ['localhost']), to).rejects.toMatchObject({ code: 'EDGE_UNAVAILABLE' })
    expect(asked.filter(one => one === 'GET /')).not.toHaveLength(0)
    to = '/end'
    expect(await (await get(url, ['localhost'])).text()).toBe('here')
    await expect(get(url, ['localhost'], { redirect: 'error' })).rejects.toMatchObject({ code: 'EDGE_UNAVAILABLE' })
    expect((await get(url, ['localhost'], { redirect: 'manual' })).status).toBe(302)
    await expect(get(url, ['localhost'], { method: 'POST', body: 'x' })).rejects.toMatchObject({
      code: 'EDGE_UNAVAILABLE',
    })
  })

  test('slowly, or never: 5 seconds for everything', { timeout: 30_000 }, async () => {
    const url = await serve((_request, response) => {
      const timer = setInterval(() => response.write('x'), 200)
      response.on('close', () => clearInterval(timer))
    })
    const silent = createTcp(socket => stops.push(() => socket.destroy()))
    await new Promise<void>(resolve => silent.listen(0, '127.0.0.1', resolve))
    stops.push(() => silent.close())
    const { port } = silent.address() as AddressInfo
    const both = [get(url, ['localhost']), get(`https://localhost:${port}`, ['localhost'])]
    for (const one of await Promise.allSettled(both)) expect(one).toMatchObject({ reason: { code: 'TIMED_OUT' } })
  })

  test('an abort rejects with its reason', async () => {
    const url = await serve(() => {})
    const own = new AbortController()
    const reason = new Error('enough')
    const asking = get(url, ['localhost'], { signal: own.signal })
    setTimeout(() => own.abort(reason), 50)
    await expect(asking).rejects.toBe(reason)
    await expect(get(url, ['localhost'], { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })

  test('not with a certificate that is trusted', async () => {
    // A CA of its own, with no name of a host: whoever trusted it would go on to look at that.
    const tls = await createAuthority({ commonName: 'localhost', days: 1 })
    const port = await listen(createTls(tls, (_request, response) => response.end('x')) as unknown as Server)
    await expect(get(`https://localhost:${port}`, ['localhost'])).rejects.toMatchObject({ code: 'EDGE_UNAVAILABLE' })
  })
})
