import { once } from 'node:events'
import type { TLSSocket } from 'node:tls'
import { afterAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { dialTls, upgrade } from '../world/attacker.ts'
import { floods } from '../world/floods.ts'
import * as frames from '../world/h2frames.ts'
import { CROOKED, CUT, startLiveSite } from '../world/live-site.ts'
import { ask2, dialLine, http2, plain, say, statusOf } from '../world/web.ts'

// HTTP applications under strain: answers that are none, many visitors on shared streams, floods.

const uncaught = vi.fn()
process.on('uncaughtException', uncaught).on('unhandledRejection', uncaught)
const live = await startLiveSite()
const { site, credential, own, ask, over2 } = live
beforeEach(() => live.begin())
afterAll(async () => {
  await live[Symbol.asyncDispose]()
  process.off('uncaughtException', uncaught).off('unhandledRejection', uncaught)
  expect(uncaught).not.toHaveBeenCalled()
})

const codeOf = (answer: string) => /"code":"([A-Z_]+)"/.exec(answer)?.[1]

describe('row 57: answers that are none', () => {
  it.each(Object.keys(CROOKED).filter(path => !['/good', '/ours'].includes(path)))('%s', async path => {
    const poison = /poison/
    const line = await dialLine(site, 'odd.localhost')
    for (const method of path === '/head' ? ['HEAD'] : ['GET', 'HEAD']) {
      line.write(plain(`${method} ${path}`, 'odd.localhost', own()))
      await line.read(/\r\n\r\n/)
    }
    line.socket.destroy()
    using session = over2('odd.localhost')
    await ask2(session, { ':path': path, ...credential() })
    // Whatever that was: others are served, by their own answers.
    const answers = await Promise.all(Array.from({ length: 6 }, () => ask('/good', own(), 'odd.localhost')))
    for (const answer of answers) expect(answer).toMatch(/^HTTP\/1\.1 200 [\s\S]*\r\n\r\ngood$/)
    expect(line.text()).not.toMatch(poison)
    if (CUT.includes(path)) {
      expect(await ask(path, own(), 'odd.localhost')).not.toMatch(/\r\n0\r\n\r\n$/)
      const { status, reset } = await ask2(session, { ':path': path, ...credential() })
      expect(status === 502 || reset !== 0).toBe(true)
    }
  })

  it('row 132: a visitor over HTTP/2 who leaves while the origin says 100 takes nobody along', async () => {
    for (let turn = 0; turn < 20; turn++) {
      const socket = await dialTls({ port: site.edge.port, caFile: site.caFile }, 'odd.localhost', {
        ALPNProtocols: ['h2'],
      })
      const heads = Array.from({ length: 8 }, (_, at) =>
        frames.frame(
          frames.HEADERS,
          4,
          at * 2 + 1,
          frames.head('/hundreds', 'odd.localhost', Object.entries(credential()), at % 2 ? 'HEAD' : 'POST'),
        ),
      )
      socket.resume().write(Buffer.concat([frames.PREFACE, ...heads]))
      await new Promise(resolve => setTimeout(resolve, 40 + turn * 3))
      const resets = heads.map((_, at) =>
        frames.frame(frames.RST_STREAM, 0, at * 2 + 1, frames.word((turn + at) % 2 ? 8 : 0)),
      )
      if (turn % 3) socket.write(Buffer.concat(resets))
      else socket.destroy()
      await new Promise(resolve => setTimeout(resolve, 5))
      socket.destroy()
    }
    expect(uncaught).not.toHaveBeenCalled()
    expect(await ask('/good', own(), 'odd.localhost')).toMatch(/good$/)
  })

  it('row 58: what is the edge’s, an origin cannot say', async () => {
    const answer = await ask('/ours', own(), 'odd.localhost')
    expect([statusOf(answer), codeOf(answer)]).toEqual([503, undefined])
    expect(answer).not.toMatch(/stolen|forged|postern-problem|clear-site-data/i)
    expect(answer).toContain('Set-Cookie: own=1')
  })

  it('row 144: one that takes the request and says nothing is 504, without its address', async () => {
    const answer = await ask('/silence', own(), 'odd.localhost')
    expect([statusOf(answer), codeOf(answer)]).toEqual([504, 'ORIGIN_TIMEOUT'])
    expect(answer).not.toMatch(/127\.0\.0\.1|:\d{5}/)
    const socket = await say(site, 'odd.localhost', upgrade('odd.localhost', own()).replace('GET / ', 'GET /silence '))
    expect(statusOf(socket)).toBe(504)
  })
})

describe('row 56, row 57: many visitors on the same streams', () => {
  it('each gets their own answer, whatever the others do', { timeout: 60_000 }, async () => {
    const wrong: string[] = []
    let good = 0
    const one = async (session: ReturnType<typeof over2>, visitor: number, turn: number) => {
      const tag = `v${visitor}-${turn}-${'x'.repeat((visitor * 7 + turn) % 50)}`
      const kind = (visitor + turn * 3) % 7
      const path = ['/plain', '/slow', '/early', '/cut', '/plain', '/slow', '/plain'][kind] ?? '/'
      const body = kind === 2 ? Buffer.alloc(30_000) : kind === 5 ? Buffer.alloc(500) : undefined
      const headers = { ':path': path, ':method': body ? 'POST' : 'GET', 'x-tag': tag, ...credential() }
      if (kind === 6) {
        // Aborted: in its upload, or while it waits for its answer.
        const stream = session.request({ ...headers, ':method': 'POST', ':path': '/slow' }, { endStream: false })
        stream.on('error', () => {}).write('some')
        setTimeout(() => stream.close(turn % 2 ? 8 : 0), turn % 9)
        return void (await once(stream, 'close'))
      }
      const got = await ask2(session, headers, body)
      if (got.status === 0 || got.status >= 500) return
      if (got.headers['x-tag'] !== tag || !got.body.includes(tag))
        wrong.push(`${tag}: ${got.headers['x-tag']} ${got.body}`)
      else if (path !== '/cut') good++
      else if (got.reset === 0) wrong.push(`${tag}: half an answer passed for a whole one`)
    }
    const visit = async (visitor: number) => {
      using session = over2('web.localhost')
      for (let turn = 0; turn < 12; turn++)
        await Promise.all([
          one(session, visitor, turn * 3),
          one(session, visitor, turn * 3 + 1),
          one(session, visitor, turn * 3 + 2),
        ])
    }
    await Promise.all(Array.from({ length: 12 }, (_, visitor) => visit(visitor)))
    expect(wrong).toEqual([])
    expect(good).toBeGreaterThan(150)
  })
})

describe('row 126: floods, while somebody works', () => {
  const settled = async (flood: (socket: TLSSocket) => void) => {
    const socket = await dialTls({ port: site.edge.port, caFile: site.caFile }, 'web.localhost', {
      ALPNProtocols: ['h2'],
    })
    let over = false
    socket.on('close', () => (over = true)).resume()
    socket.write(frames.PREFACE)
    flood(socket)
    const steady = http2(site, 'web.localhost')
    for (let turn = 0; turn < 20; turn++)
      expect((await ask2(steady, { ':path': '/plain', 'x-tag': `t${turn}`, ...credential() })).body).toBe(
        `GET t${turn} 0`,
      )
    steady.destroy()
    return { socket, isOver: () => over }
  }
  it.each(floods('web.localhost', Object.entries(credential())))(
    '%s: the connection is all that it costs',
    async (_, make) => {
      const { socket, isOver } = await settled(socket => void socket.write(make()))
      await expect.poll(isOver, { timeout: 15_000 }).toBe(true)
      socket.destroy()
    },
  )
})
