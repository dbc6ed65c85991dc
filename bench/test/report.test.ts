import { describe, expect, it } from 'vitest'
import { drawPicture } from '../measure/picture.ts'
import { orderOf, type Visit } from '../measure/rounds.ts'
import { mediansOf, ratiosOf, renderMedians, renderRatios, renderTargets, renderTransports } from '../measure/table.ts'
import { judgeTargets, TARGETS } from '../measure/targets.ts'
import { compare, median, render } from '../report.ts'

const WAY = 'end-to-end/tls'
const visit = (peer: string, round: number, figures: Visit['figures']): Visit => ({
  ...{ peer, round, figures, foreign: 0, disturbed: false, repeated: 0 },
})
const visits = [
  visit(WAY, 0, { down: 100, ping: 50, idle: 8 }),
  visit('ssh', 0, { down: 200, ping: 100 }),
  visit('ssh', 1, { down: 400, ping: 100 }),
  visit(WAY, 1, { down: 300, ping: 104, idle: 11 }),
]

describe('a run of many peers', () => {
  it('divides round by round, and says a loss as plainly as a win', () => {
    const beside = ratiosOf(visits)[WAY]?.ssh
    expect(beside?.down).toEqual({ median: 0.625, min: 0.5, max: 0.75, verdict: 'worse' })
    expect(beside?.ping).toEqual({ median: 0.77, min: 0.5, max: 1.04, verdict: 'better' })
    expect(renderRatios(ratiosOf(visits), WAY)).toContain('0.625× (0.5..0.75) worse')
    expect(renderMedians(mediansOf(visits)).split('\n')).toHaveLength(5)
  })

  it('holds each target against what was reached, and says what was not measured', () => {
    const medians = mediansOf(visits)
    const judged = judgeTargets(WAY, (peer, metric) => medians[peer]?.[metric]?.median, ratiosOf(visits))
    expect(judged).toHaveLength(TARGETS.length)
    const of = (metric: string, against?: string) =>
      judged.find(one => one.metric === metric && one.against === against)
    expect(of('down', 'ssh')).toMatchObject({ aim: 1.5, reached: 0.625, verdict: 'missed' })
    expect(of('ping', 'ssh')).toMatchObject({ aim: 0.9, reached: 0.77, verdict: 'met' })
    expect(of('idle')).toMatchObject({ aim: 10, reached: 9.5, verdict: 'met' })
    expect(of('requests', 'nginx')?.verdict).toBe('not measured')
    expect(renderTargets(judged)).toMatch(/bulk down.* ssh +\| ≥ 1\.5× +\| 0\.625 +\| missed/)
  })

  it('divides each transport by WebSocket in the same mode', () => {
    const ways = ['hop/websocket', 'hop/grpc', 'end-to-end/websocket', 'end-to-end/grpc', 'ssh']
    const told = ways.flatMap((way, at) =>
      [0, 1].map(round => visit(way, round, { down: (at + 1) * (round + 1) * 10 })),
    )
    const [head = '', , row = '', ...more] = renderTransports(ratiosOf(told), 'websocket').split('\n')
    expect(head.split('|').map(cell => cell.trim())).toEqual([
      ...['', '', 'better', 'hop/grpc / websocket', 'end-to-end/grpc / websocket', ''],
    ])
    expect(row).toMatch(/bulk down.*2× \(2\.\.2\) better +\| 1\.33× \(1\.33\.\.1\.33\) better/)
    expect(more).toEqual([])
  })

  it('has a picture in which a loss is one', () => {
    const picture = drawPicture({ medians: mediansOf(visits), fast: WAY, date: '2026-01-01' })
    expect(picture).toContain('bulk down, one stream, MB/s (more is better): Postern is number 2 of 2')
    expect(picture).toContain('(less is better): Postern is first of 2')
    expect(picture.match(/<rect/g)).toHaveLength(4)
    expect(picture).not.toMatch(/NaN|undefined/)
  })

  it('has another order in each round, and everybody is in every one', () => {
    const all = ['a', 'b', 'c', 'd']
    const orders = [0, 1, 2, 3, 4].map(round => orderOf(all, round).join(''))
    expect(orders.slice(0, 4).map(order => [...order].sort().join(''))).toEqual(['abcd', 'abcd', 'abcd', 'abcd'])
    expect(new Set(orders.slice(0, 4)).size).toBe(4)
    expect(orders[4]).toBe('abcd')
  })
})

const METRICS = {
  down: { title: 'bulk down', unit: 'MB/s', better: 'more' },
  start: { title: 'start', unit: 'ms', better: 'less' },
  cpu: { title: 'processor time', unit: 's/GB', better: 'less' },
} as const

describe('a run of two', () => {
  it('divides round by round, and says a loss as plainly as a win', () => {
    const rounds = [
      { postern: { down: 100, start: 100 }, peer: { down: 200, start: 200 }, direct: { down: 4000 } },
      { postern: { down: 300, start: 130 }, peer: { down: 400, start: 200 }, direct: { down: 5000 } },
    ]
    const { down, start } = compare(rounds, METRICS)
    expect(down?.ratio).toEqual({ median: 0.625, min: 0.5, max: 0.75 })
    expect([down?.verdict, start?.verdict]).toEqual(['worse', 'better'])
    expect(down?.direct?.median).toBe(4500)
    expect(start?.direct).toBeUndefined()
    const lines = render(down ? { down } : {}, METRICS, 'OpenSSH').split('\n')
    expect(lines).toHaveLength(3)
    expect(lines[2]).toMatch(/bulk down.* worse /)
  })

  it('calls what is within the noise even', () => {
    const one = { postern: { cpu: 1.05 }, peer: { cpu: 1 }, direct: {} }
    expect(compare([one], METRICS).cpu?.verdict).toBe('even')
  })

  it('takes the middle', () => {
    expect([median([3, 1, 2]), median([4, 1, 2, 3])]).toEqual([2, 2.5])
    expect(() => median([])).toThrow(RangeError)
  })
})
