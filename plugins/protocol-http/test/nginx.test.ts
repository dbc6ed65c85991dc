// nginx as the service, run for real. Needs: apt-get install nginx
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ask, at, problemIn, Rig, readUntil, rule } from './rig.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')

function answers(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    }).on('error', () => resolve(false))
  })
}

describe.skipIf(!peers.includes('nginx'))('nginx (needs: apt-get install nginx)', () => {
  const folder = mkdtempSync(join(tmpdir(), 'postern-nginx-'))
  let port = 0
  let nginx: ChildProcess | undefined

  beforeAll(async () => {
    const free = createServer().listen(0, '127.0.0.1')
    await once(free, 'listening')
    port = (free.address() as { port: number }).port
    free.close()
    mkdirSync(join(folder, 'www'))
    writeFileSync(join(folder, 'www', 'big'), Buffer.alloc(4 * 1024 * 1024, 'abcdefgh'))
    writeFileSync(join(folder, 'www', 'page.html'), '<p>page</p>')
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    writeFileSync(
      join(folder, 'nginx.conf'),
      `daemon off; master_process off; pid ${folder}/pid; error_log ${folder}/error.log;
events { worker_connections 64; }
http {
  access_log ${folder}/access.log; keepalive_timeout 1s;
  ${temporary.map(name => `${name}_temp_path ${folder}/${name};`).join(' ')}
  server {
    listen 127.0.0.1:${port}; root ${folder}/www;
    location = /who { return 200 "$http_host|$http_postern_identity|$http_x_hop|$request_uri"; }
    location = /drop { return 444; }
    location = /moved { return 302 /page.html; }
    location = /put { client_max_body_size 10; return 201; }
  }
}`,
    )
    nginx = spawn('nginx', ['-p', folder, '-c', join(folder, 'nginx.conf')], {
      stdio: 'ignore',
      env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` },
    })
    while (!(await answers(port))) await new Promise(resolve => setTimeout(resolve, 50)) // the hook has a deadline
  })
  afterAll(async () => {
    const gone = nginx && nginx.exitCode === null ? once(nginx, 'exit') : undefined
    nginx?.kill()
    await gone
    rmSync(folder, { recursive: true, force: true })
  })

  it('serves pages, ranges, HEAD and what changed, over one connection', async () => {
    const to = rule(at(port))
    await using rig = new Rig(to)
    const { stream } = await rig.open()
    const next = (head: string, end: RegExp) => {
      stream.write(`${head}\r\nHost: app.example.com\r\n\r\n`)
      return readUntil(stream, end)
    }
    const page = await next('GET /page.html HTTP/1.1', /<p>page<\/p>$/)
    expect(page).toMatch(/^HTTP\/1.1 200 OK\r\nServer: nginx/)
    const etag = /ETag: (.*)\r/.exec(page)?.[1]
    expect(await next('GET /big HTTP/1.1\r\nRange: bytes=1-3', /bcd$/)).toMatch(
      /206 Partial Content[\s\S]*bytes 1-3\/4194304/,
    )
    expect(await next('HEAD /big HTTP/1.1', /\r\n\r\n$/)).toContain('Content-Length: 4194304')
    expect(await next(`GET /page.html HTTP/1.1\r\nIf-None-Match: ${etag}`, /\r\n\r\n$/)).toMatch(/^HTTP\/1.1 304 /)
    expect(await next('GET /moved HTTP/1.1', /<\/html>\r\n$/)).toMatch(/302 Moved[\s\S]*Location: .*\/page.html/)
    expect(to.dialled).toHaveLength(1)
  })

  it('row 49: sees one identity, no hop-by-hop header and the path as it was sent', async () => {
    await using rig = new Rig(rule(at(port)))
    const head = 'GET /who?a=%2e HTTP/1.1\r\nX-Hop: 1\r\npostern-identity: a.b.c\r\nConnection: X-Hop, postern-identity'
    expect((await ask(rig, head)).text).toMatch(/app\.example\.com\|a\.b\.c\|\|\/who\?a=%2e$/)
  })

  it('a body of 4 MiB is whole', async () => {
    await using rig = new Rig(rule(at(port)))
    const { text, cut } = await ask(rig, 'GET /big HTTP/1.1')
    expect(cut).toBe(false)
    expect(text.slice(text.indexOf('\r\n\r\n') + 4)).toBe('abcdefgh'.repeat((4 * 1024 * 1024) / 8))
  })

  it('row 57: a connection that is dropped is ORIGIN_FAILED, and a body that is refused early gets its answer', async () => {
    await using rig = new Rig(rule(at(port)))
    expect(problemIn((await ask(rig, 'GET /drop HTTP/1.1')).text)).toMatchObject({ code: 'ORIGIN_FAILED' })
    const early = await ask(rig, 'POST /put HTTP/1.1\r\nContent-Length: 1000000', 'x'.repeat(1000))
    expect(early.text).toMatch(/^HTTP\/1.1 413 /)
  })

  it('row 136: a connection that nginx let go while it waited costs no request', async () => {
    await using rig = new Rig(rule(at(port)))
    const { stream } = await rig.open()
    for (let count = 0; count < 3; count++) {
      stream.write('GET /page.html HTTP/1.1\r\nHost: a\r\n\r\n')
      expect(await readUntil(stream, /<\/p>$/)).toContain('200 OK')
      await new Promise(resolve => setTimeout(resolve, 1200)) // nginx keeps it for a second
    }
    expect(rig.answers.every(one => one.error === undefined)).toBe(true)
  })
})
