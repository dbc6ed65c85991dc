import { once } from 'node:events'
import { connect } from 'node:net'
import { PosternError } from '@postern/interface'
import { openOrigin } from '@postern/testkit'
import { describe, expect, it } from 'vitest'
import { createMetrics, type Metrics } from '../src/metrics.ts'

const DB = { hostname: 'db.example.com', requestId: 'r-1', rule: '*.example.com', service: 'tcp://localhost:5432' }
const STRANGE = { hostname: 'secret"}\n.example.net', requestId: 'r-2' }

/** The value of one series; undefined where there is none. */
async function read(metrics: Metrics, series: string): Promise<number | undefined> {
  const { text } = await metrics.render()
  const line = text.split('\n').find(one => one.startsWith(`${series} `))
  return line === undefined ? undefined : Number(line.slice(series.length))
}

describe('connections', () => {
  it('are counted up, down, and up again; none is ready after a stop', async () => {
    const metrics = await createMetrics('1.2.3')
    const { observer } = metrics
    const zero = { index: 0 }
    observer.onDial?.(zero)
    observer.onRetry?.(zero, new PosternError('EDGE_UNREACHABLE', 'at 10.0.0.7'), 100)
    observer.onDial?.(zero)
    observer.onConnected?.(zero)
    expect(metrics.connections).toBe(1)
    expect(await read(metrics, 'posternd_edge_reconnects_total')).toBe(0)
    observer.onDisconnected?.(zero, undefined)
    observer.onRetry?.(zero, new PosternError('SESSION_LOST', 'gone'), 100) // no dial failed here
    expect(metrics.connections).toBe(0)
    observer.onDial?.(zero)
    observer.onConnected?.(zero)
    expect(await read(metrics, 'posternd_edge_connections')).toBe(1)
    expect(await read(metrics, 'posternd_edge_connection_attempts_total')).toBe(3)
    expect(await read(metrics, 'posternd_edge_connection_failures_total{code="EDGE_UNREACHABLE"}')).toBe(1)
    expect(await read(metrics, 'posternd_edge_connection_failures_total{code="SESSION_LOST"}')).toBeUndefined()
    expect(await read(metrics, 'posternd_edge_reconnects_total')).toBe(1)
    expect(await read(metrics, 'posternd_draining')).toBe(0)
    observer.onStopping?.()
    expect(metrics.connections).toBe(0)
    expect(await read(metrics, 'posternd_draining')).toBe(1)
  })
})

describe('streams', () => {
  it('are counted by the rule that answers them, never by what a stranger asked for', async () => {
    const metrics = await createMetrics('1.2.3')
    const { observer } = metrics
    observer.onStream?.(DB)
    observer.onStream?.(DB)
    observer.onStreamEnd?.(DB, { code: 'ORIGIN_REFUSED', duration: 3 })
    observer.onStream?.(STRANGE)
    observer.onStreamEnd?.(STRANGE, { code: 'INGRESS_NOT_FOUND', duration: 0 })
    expect(await read(metrics, 'posternd_streams_total{hostname="*.example.com"}')).toBe(2)
    expect(await read(metrics, 'posternd_streams_open{hostname="*.example.com"}')).toBe(1)
    expect(await read(metrics, 'posternd_stream_failures_total{hostname="*.example.com",code="ORIGIN_REFUSED"}')).toBe(
      1,
    )
    expect(await read(metrics, 'posternd_stream_failures_total{hostname="other",code="INGRESS_NOT_FOUND"}')).toBe(1)
    expect((await metrics.render()).text).not.toMatch(/secret|db\.example\.com|5432|r-1/)
  })

  it('tell their bytes while they are open, and each byte once', async () => {
    const metrics = await createMetrics('1.2.3')
    await using origin = await openOrigin()
    const socket = connect(origin.port, '127.0.0.1')
    await once(socket, 'connect')
    metrics.observer.onService?.(DB, socket, 40)
    socket.write('12345')
    await once(socket, 'data') // the origin says it back
    const sent = 'posternd_service_sent_bytes_total{hostname="*.example.com"}'
    const received = 'posternd_service_received_bytes_total{hostname="*.example.com"}'
    expect([await read(metrics, sent), await read(metrics, received)]).toEqual([5, 5])
    expect([await read(metrics, sent), await read(metrics, received)]).toEqual([5, 5])
    socket.resume().end('678')
    await once(socket, 'close')
    expect([await read(metrics, sent), await read(metrics, received)]).toEqual([8, 8])
    const buckets = 'posternd_service_connect_seconds'
    expect(await read(metrics, `${buckets}_bucket{le="0.025",hostname="*.example.com"}`)).toBe(0)
    expect(await read(metrics, `${buckets}_bucket{le="0.05",hostname="*.example.com"}`)).toBe(1)
    expect(await read(metrics, `${buckets}_sum{hostname="*.example.com"}`)).toBe(0.04)
  })
})

describe('a config file', () => {
  it('that was read again counts, and one that was refused as well', async () => {
    const metrics = await createMetrics('1.2.3')
    const ok = 'posternd_config_reloads_total{result="ok"}'
    const failed = 'posternd_config_reloads_total{result="failed"}'
    expect([await read(metrics, ok), await read(metrics, failed)]).toEqual([0, 0])
    metrics.observer.onReload?.(new PosternError('CONFIG_INVALID', 'no'))
    metrics.observer.onReload?.()
    expect([await read(metrics, ok), await read(metrics, failed)]).toEqual([1, 1])
    const last = (await read(metrics, 'posternd_config_last_reload_timestamp_seconds')) ?? 0
    expect(Math.abs(Date.now() / 1000 - last)).toBeLessThan(60)
  })
})

describe('the text', () => {
  it('says which posternd this is, and how the process does', async () => {
    const metrics = await createMetrics('1.2.3')
    const { type, text } = await metrics.render()
    expect(type).toBe('text/plain; version=0.0.4; charset=utf-8')
    expect(text).toContain(`posternd_build_info{version="1.2.3",node="${process.versions.node}"} 1\n`)
    expect(text).toMatch(/^process_resident_memory_bytes \d+$/m)
  })

  it('keeps to Prometheus’s names: a prefix, base units, _total for what only grows', async () => {
    const { text } = await (await createMetrics('1.2.3')).render()
    const types = [...text.matchAll(/^# TYPE (posternd_\S+) (\w+)$/gm)].map(([, name = '', kind]) => ({ name, kind }))
    expect(types.length).toBeGreaterThan(10)
    for (const { name, kind } of types) {
      expect(name.endsWith('_total')).toBe(kind === 'counter')
      expect(name).not.toMatch(/milli|_ms$|kilo/)
    }
  })

  it('of two daemons in one process is each its own', async () => {
    const [one, other] = [await createMetrics('1.2.3'), await createMetrics('1.2.3')]
    one.observer.onConnected?.({ index: 0 })
    expect([one.connections, other.connections]).toEqual([1, 0])
    expect(await read(other, 'posternd_edge_connections')).toBe(0)
  })
})
