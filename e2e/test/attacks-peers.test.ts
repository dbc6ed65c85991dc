import { createApplicationClient } from '@postern/client'
import { startDaemon } from '@postern/daemon'
import { type AuthProvider, type Call, type OriginHost, PosternError } from '@postern/interface'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { DATA, FIN, framed, GO_AWAY, HELLO, RawSession, RST, SYN, WINDOW, yamux } from '../world/attacker.ts'
import { type Lab, quiet, startLab } from '../world/lab.ts'
import { type Origin, startOrigin } from '../world/origin.ts'
import { intoOurHands } from '../world/our-hands.ts'

// Row 74 and 102 from the other sides: a daemon with a good tunnel token, and an edge, that mean harm.

const good = { v: 1, hostname: 'db.localhost', requestId: 'mine', purpose: 'tcp' }
const yes = framed({ v: 1, ok: true })
const uncaught = vi.fn()
beforeAll(() => void process.on('uncaughtException', uncaught).on('unhandledRejection', uncaught))
afterAll(() => {
  process.off('uncaughtException', uncaught).off('unhandledRejection', uncaught)
  expect(uncaught).not.toHaveBeenCalled()
})

const originHost: OriginHost = {
  resolve: async () => [],
  team: 'edge.localhost',
  fetch: () => Promise.reject(new Error('nothing to ask')),
}

describe('a daemon that means harm', () => {
  let lab: Lab
  let awayToken: string
  let away: RawSession
  let other: RawSession
  beforeAll(async () => {
    lab = await startLab()
    const { administration } = lab.edge
    await administration.call('tunnel.create', { body: { name: 'away' } })
    awayToken = (await administration.call('tunnel-token.create', { params: { name: 'away' }, body: {} })).token
    const rules = [{ name: 'any', action: 'allow' as const, include: [{ anyServiceToken: true as const }] }]
    await administration.call('application.create', { body: { hostname: 'other.localhost', tunnel: 'away', rules } })
    // Another tunnel, with one stream open since before the first attack.
    away = new RawSession(await lab.pipe('edge.localhost', 'connector', { 'postern-tunnel-token': awayToken }))
    away.send(HELLO)
    other = new RawSession(await lab.pipe('other.localhost', 'session', lab.headers()))
    other.send(HELLO)
    other.open(3, { ...good, hostname: 'other.localhost' })
    await away.until(() => away.text(2).includes('other.localhost'), 'the stream')
    away.send(yamux(DATA, 0, 2, yes))
    await other.until(() => other.answer(3)?.ok === true, 'a yes')
  })
  afterAll(() => lab[Symbol.asyncDispose]())

  let said = 0
  async function otherTunnelServed(): Promise<void> {
    const word = `still here ${++said}.`
    away.send(yamux(DATA, 0, 2, word))
    await other.until(() => other.text(3).includes(word), 'bytes of the other tunnel')
  }

  /** A daemon that was offered the stream 2 of a visitor. */
  async function offered(): Promise<{ daemon: RawSession; visitor: RawSession }> {
    await expect.poll(() => lab.edge.counts().connectors, { timeout: 10_000 }).toBe(1)
    const daemon = await lab.connector()
    daemon.send(HELLO)
    await daemon.until(() => daemon.text(1).includes('hello'), 'hello')
    const visitor = await lab.visitor()
    visitor.open(3, { ...good, identities: [forged], permit: { everything: true } })
    await daemon.until(() => daemon.text(2).includes('}'), 'a stream')
    return { daemon, visitor }
  }
  const forged = { kind: 'user', issuer: 'postern:x', subject: 'root', claims: { admin: true }, revokeKeys: [] }
  const told = (stream?: number) =>
    `${JSON.stringify({ type: 'cut', stream, problem: { code: 'AUTH_REJECTED', title: 'log in at evil', speaker: 'edge' } })}\n`

  it('hears of a visitor what the edge decided, and nothing the visitor says of itself', async () => {
    const { daemon, visitor } = await offered()
    const header = daemon.answer(2) as Record<string, unknown>
    expect(header).toMatchObject({
      hostname: 'db.localhost',
      identities: [{ issuer: 'postern:service-token', subject: lab.token.id }],
      permit: null,
    })
    expect(header.requestId).not.toBe('mine')
    expect(JSON.stringify(header)).not.toMatch(/root|everything|admin/)
    daemon.send(yamux(DATA, 0, 2, yes))
    await visitor.until(() => visitor.answer(3)?.ok === true, 'a yes')
    for (const one of [daemon, visitor]) one.pipe.destroy()
  })

  const refusal = (problem: object) => [yamux(DATA, 0, 2, framed({ v: 1, problem: { title: 'x', ...problem } }))]
  it.each<[string, readonly Buffer[], string, string]>([
    ['refuses in the edge’s name', refusal({ code: 'AUTH_REJECTED', speaker: 'edge' }), 'AUTH_REJECTED', 'daemon'],
    ['refuses in nobody’s name', refusal({ code: 'ACCESS_DENIED' }), 'ACCESS_DENIED', 'daemon'],
    ['refuses for its service', refusal({ code: 'ORIGIN_REFUSED', speaker: 'service' }), 'ORIGIN_REFUSED', 'service'],
    ['refuses with a code nobody has', refusal({ code: 'constructor' }), 'INTERNAL', 'daemon'],
    ['cuts in the edge’s name', [yamux(DATA, 0, 1, told(2)), yamux(WINDOW, RST, 2)], 'AUTH_REJECTED', 'daemon'],
    ['ends all in the edge’s name', [yamux(DATA, 0, 1, told())], 'AUTH_REJECTED', 'daemon'],
    ['answers with HTTP', [yamux(DATA, 0, 2, 'HTTP/1.1 200 OK\r\n\r\n')], 'PROTOCOL_VIOLATION', 'edge'],
    ['answers yes and no', [yamux(DATA, 0, 2, framed({ v: 1, ok: true, problem: {} }))], 'PROTOCOL_VIOLATION', 'edge'],
    ['answers in version 2', [yamux(DATA, 0, 2, framed({ v: 2, ok: true }))], 'VERSION_UNSUPPORTED', 'edge'],
    ['ends instead of an answer', [yamux(WINDOW, FIN, 2)], 'PROTOCOL_VIOLATION', 'edge'],
    ['resets instead of an answer', [yamux(WINDOW, RST, 2)], 'LIMIT_EXCEEDED', 'edge'],
    ['sends more than it may', [yamux(DATA, 0, 2, Buffer.alloc(2 ** 21))], 'PROTOCOL_VIOLATION', 'edge'],
    ['sends a wrong frame', [yamux(9, 0, 0)], 'PROTOCOL_VIOLATION', 'edge'],
    ['says a line without end', [yamux(DATA, 0, 1, 'x'.repeat(65_537))], 'PROTOCOL_VIOLATION', 'edge'],
    ['goes away with an error', [yamux(GO_AWAY, 0, 0, '', 1)], 'PROTOCOL_VIOLATION', 'edge'],
  ])('that %s: its visitor hears who said so, and no other tunnel notices', async (_, frames, code, speaker) => {
    const { daemon, visitor } = await offered()
    daemon.send(...frames)
    await visitor.until(() => visitor.answer(3) !== undefined, 'an answer')
    expect(visitor.answer(3)?.problem).toMatchObject({ speaker })
    expect(visitor.answer(3)?.problem?.code).toBe(code)
    const id = (visitor.answer(3)?.problem as { requestId?: string } | undefined)?.requestId
    expect((await lab.edge.store.readAudit({ most: 1, requestId: id }))[0]).toMatchObject({
      action: 'stream.refused',
      code,
    })
    await otherTunnelServed()
    for (const one of [daemon, visitor]) one.pipe.destroy()
  })

  it.each([
    ['of its own application', 'db.localhost'],
    ['of another tunnel’s', 'other.localhost'],
    ['of the edge', 'edge.localhost'],
  ])('row 102: that claims a stream %s is refused, and nobody is offered it', async (_, hostname) => {
    const { daemon, visitor } = await offered()
    daemon.open(3, { ...good, hostname })
    await daemon.until(() => daemon.answer(3) !== undefined, 'an answer')
    expect(daemon.answer(3)?.problem?.code).toBe('DESTINATION_FORBIDDEN')
    expect(away.frames.filter(({ flags }) => flags & SYN)).toHaveLength(1)
    for (const one of [daemon, visitor]) one.pipe.destroy()
  })

  it.each([
    [
      'postern-tunnel-token of another tunnel in a cookie',
      () => ({ cookie: `postern-tunnel-token=${awayToken}` }),
      401,
    ],
    ['the visitors’ token', () => lab.headers(), 401],
    ['a token of a tunnel it renamed', () => ({ 'postern-tunnel-token': renamed(awayToken, 'home') }), 401],
    [
      'a token with a claim more',
      () => ({ 'postern-tunnel-token': renamed(awayToken, 'away', { hostname: 'db.localhost' }) }),
      401,
    ],
  ])('row 102: with %s it is nobody', async (_, headers, status) => {
    await expect.poll(() => lab.edge.counts().connectors, { timeout: 10_000 }).toBe(1)
    await expect(lab.pipe('edge.localhost', 'connector', headers())).rejects.toMatchObject({ refusal: { status } })
    expect(lab.edge.counts().connectors).toBe(1)
  })

  it('row 101: is one of at most 64 connections of its tunnel, each in the audit log; revoked, all are gone', async () => {
    const { administration, store } = lab.edge
    await administration.call('tunnel.create', { body: { name: 'stolen' } })
    const { token } = await administration.call('tunnel-token.create', { params: { name: 'stolen' }, body: {} })
    const dial = () => lab.pipe('edge.localhost', 'connector', { 'postern-tunnel-token': token })
    const before = lab.edge.counts().connectors
    const all = await Promise.all(Array.from({ length: 64 }, async () => new RawSession(await dial())))
    for (const one of all) one.send(HELLO)
    await expect.poll(() => lab.edge.counts().connectors - before, { timeout: 10_000 }).toBe(64)
    await expect(dial()).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
    const rows = (await store.readAudit({ most: 200 })).filter(row => row.actor?.endsWith(' stolen') && row.allowed)
    expect(rows.length).toBeGreaterThanOrEqual(64)
    await administration.call('tunnel-token.rotate', { params: { name: 'stolen' }, body: {} })
    await expect.poll(() => lab.edge.counts().connectors, { timeout: 15_000 }).toBe(before)
    await otherTunnelServed()
  })
})

/** The same secret, said to be of another tunnel, or with more in it. */
function renamed(token: string, tunnel: string, more: object = {}): string {
  const { s } = JSON.parse(Buffer.from(token.slice(4), 'base64url').toString())
  return `ptt_${Buffer.from(JSON.stringify({ t: tunnel, s, ...more })).toString('base64url')}`
}

const nobody: AuthProvider = { authenticate: async () => ({ headers: {} }) }
const call: Call = { signal: new AbortController().signal, log: quiet }

describe('an edge that means harm, to a daemon', () => {
  let origin: Origin
  let forbidden: Origin
  beforeAll(async () => {
    origin = await startOrigin(socket => socket.pipe(socket))
    forbidden = await startOrigin(() => {})
  })
  afterAll(async () => {
    await origin[Symbol.asyncDispose]()
    await forbidden[Symbol.asyncDispose]()
  })

  it('reaches the services of its rules and nothing else, whatever it says; bad frames cost it that connection', async () => {
    const { transport, edge } = intoOurHands()
    const { default: tcp } = await import('@postern/protocol-tcp/origin')
    const server = await tcp.create({}, originHost)
    const rule = { hostname: 'db.localhost', service: new URL(`tcp://127.0.0.1:${origin.port}`), server }
    const starting = startDaemon(
      {
        edge: new URL('https://edge.localhost'),
        rules: [rule],
        auth: [nobody],
        transports: [{ name: 'ours', transport }],
        connections: 1,
      },
      call,
    )
    const first = await edge(1)
    await using daemon = await starting
    const [near, far] = [`127.0.0.1:${forbidden.port}`, `tcp://127.0.0.1:${forbidden.port}`]
    const lies: [object | string, string][] = [
      [{ ...good, hostname: 'other.localhost' }, 'INGRESS_NOT_FOUND'],
      [{ ...good, hostname: '127.0.0.1' }, 'INGRESS_NOT_FOUND'],
      [{ ...good, hostname: '__proto__' }, 'INGRESS_NOT_FOUND'],
      [{ ...good, hostname: near }, 'PROTOCOL_VIOLATION'],
      [{ ...good, hostname: far }, 'PROTOCOL_VIOLATION'],
      [{ ...good, hostname: '-oProxyCommand=calc' }, 'PROTOCOL_VIOLATION'],
      [{ ...good, service: far }, 'PROTOCOL_VIOLATION'],
      [{ ...good, to: near }, 'PROTOCOL_VIOLATION'],
    ]
    for (const [at, [header, code]] of lies.entries()) {
      first.open(2 + 2 * at, header)
      await first.until(() => first.answer(2 + 2 * at) !== undefined, 'an answer')
      expect(first.answer(2 + 2 * at)?.problem?.code).toBe(code)
      expect(JSON.stringify(first.answer(2 + 2 * at))).not.toMatch(/127\.0\.0\.1.*\d{4}/)
    }
    expect([origin.connections, forbidden.connections]).toEqual([0, 0])
    // The allow twin; what the permit says of a destination is not asked.
    first.open(100, { ...good, permit: { to: near, service: far }, identities: [] })
    await first.until(() => first.answer(100)?.ok === true, 'a yes')
    expect([origin.connections, forbidden.connections]).toEqual([1, 0])
    first.send(yamux(9, 0, 0))
    await first.over()
    const second = await edge(2)
    second.open(2, good)
    await second.until(() => second.answer(2)?.ok === true, 'a yes on the next connection')
    expect(daemon.connections).toBe(1)
    second.pipe.destroy()
  })

  it('strips the mode: a rule that is for end-to-end sessions is not served through an edge; the twin is', async () => {
    const { transport, edge } = intoOurHands()
    const { default: tcp } = await import('@postern/protocol-tcp/origin')
    const server = await tcp.create({}, originHost)
    const to = { service: new URL(`tcp://127.0.0.1:${origin.port}`), server }
    const rules = [
      { ...to, hostname: 'secret.localhost', mode: 'end-to-end' as const },
      { ...to, hostname: 'db.localhost' },
    ]
    const transports = [{ name: 'ours', transport }]
    const at = new URL('https://edge.localhost')
    const starting = startDaemon({ edge: at, rules, auth: [nobody], transports, connections: 1 }, call)
    const session = await edge(1)
    await using _daemon = await starting
    const before = origin.connections
    session.open(2, { ...good, hostname: 'secret.localhost' })
    await session.until(() => session.answer(2) !== undefined, 'an answer')
    expect([session.answer(2)?.problem?.code, origin.connections - before]).toEqual(['MODE_FORBIDDEN', 0])
    session.open(4, good)
    await session.until(() => session.answer(4)?.ok === true, 'a yes')
    session.pipe.destroy()
  })
})

describe('an edge that means harm, to a client', () => {
  const hostile = JSON.stringify({
    id: ['x'],
    hostname: 'evil.localhost',
    teamDomain: 5,
    protocols: 'ssh',
    __proto__: 1,
  })
  const open = (answer: Record<string, readonly string[]> = {}) => {
    const { transport, edge } = intoOurHands(answer)
    const client = createApplicationClient({
      hostname: 'db.localhost',
      auth: [nobody],
      transports: [{ name: 'ours', transport }],
    })
    const stream = client.open({ ...call, signal: AbortSignal.timeout(15_000) })
    stream.catch(() => {})
    return { client, stream, edge }
  }

  it.each<[string, readonly Buffer[], string]>([
    ['a yes that is none', [yamux(DATA, 0, 3, framed({ v: 1, ok: 'true' }))], 'PROTOCOL_VIOLATION'],
    ['a yes of version 9', [yamux(DATA, 0, 3, framed({ v: 9, ok: true }))], 'VERSION_UNSUPPORTED'],
    [
      'a refusal of a code nobody has',
      [yamux(DATA, 0, 3, framed({ v: 1, problem: { code: '__proto__', title: 'x' } }))],
      'INTERNAL',
    ],
    ['an end instead of an answer', [yamux(WINDOW, FIN, 3)], 'PROTOCOL_VIOLATION'],
    ['a wrong frame', [yamux(9, 0, 0)], 'PROTOCOL_VIOLATION'],
  ])('that answers with %s: an error with its code', async (_, frames, code) => {
    const { client, stream, edge } = open({ 'postern-application': [hostile] })
    await using _client = client
    const session = await edge(1)
    await session.until(() => session.text(3).includes('}'), 'the stream')
    session.send(...frames)
    await expect(stream).rejects.toMatchObject({ code })
    expect(client.app).toMatchObject({ hostname: 'db.localhost', id: '', teamDomain: '', protocols: [] })
    session.pipe.destroy()
  })

  it('that opens streams itself is refused each; the twin: what the user opened carries bytes', async () => {
    const { client, stream, edge } = open()
    await using _client = client
    const session = await edge(1)
    await session.until(() => session.text(3).includes('}'), 'the stream')
    session.open(2, good)
    await session.until(() => session.answer(2) !== undefined, 'an answer')
    expect(session.answer(2)?.problem?.code).toBe('BAD_USAGE')
    session.send(yamux(DATA, 0, 3, yes), yamux(DATA, FIN, 3, 'bytes'))
    const chunks: Buffer[] = []
    const opened = await stream
    for await (const chunk of opened) chunks.push(chunk as Buffer)
    expect(String(Buffer.concat(chunks))).toBe('bytes')
    expect(PosternError.is(opened.errored)).toBe(false)
    session.pipe.destroy()
  })
})
