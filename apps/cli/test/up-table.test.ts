import { PosternError } from '@postern/interface'
import { describe, expect, it } from 'vitest'
import type { Status } from '../src/up/keeper.ts'
import { Screen } from '../src/up/screen.ts'
import { type Row, renderTable, widthOf } from '../src/up/table.ts'

const up: Status = { state: 'up', transport: 'tls', mode: 'end-to-end' }
const denied = new PosternError('ACCESS_DENIED', 'the policy does not let you in', {
  speaker: 'edge',
  requestId: '5f0c',
})
const row = (hostname: string, status: Status, more: Partial<Row> = {}): Row => ({
  hostname,
  address: '127.0.0.1:5432',
  status,
  connections: 0,
  since: '12:04',
  ...more,
})
const rows = [
  row('db.example.com', up, { connections: 2 }),
  row('ssh.example.com', { state: 'failed', error: denied }),
  row('q.example.com', { state: 'connecting' }, { address: '/home/me/queue.sock' }),
]
const wide = { columns: 100, rows: 40, colour: false }

describe('the table', () => {
  it('has a line for each, and why one is not up', () => {
    expect(renderTable(rows, 'the end', wide)).toEqual([
      'STATE       APPLICATION      AT',
      'up          db.example.com   127.0.0.1:5432       tls, end-to-end, 2 open, since 12:04',
      'failed      ssh.example.com  127.0.0.1:5432       since 12:04',
      '            the policy does not let you in (ACCESS_DENIED, said by the edge)',
      '            request 5f0c',
      '            next: Ask the application’s administrator, with the request id.',
      'connecting  q.example.com    /home/me/queue.sock  since 12:04',
      'the end',
    ])
  })

  it('is drawn otherwise where there is no room for columns, and says as much', () => {
    expect(renderTable(rows.slice(0, 2), 'the end', { ...wide, columns: 40 })).toEqual([
      'up          db.example.com',
      '  127.0.0.1:5432',
      '  tls, end-to-end, 2 open, since 12:04',
      'failed      ssh.example.com',
      '  127.0.0.1:5432',
      '  since 12:04',
      '  the policy does not let you in',
      '  (ACCESS_DENIED, said by the edge)',
      '  request 5f0c',
      '  next: Ask the application’s',
      '  administrator, with the request id.',
      'the end',
    ])
  })

  it('no line reaches the edge of any window, nor is it higher, whatever it is made of', () => {
    const odd = [
      ...rows,
      row('a'.repeat(80), {
        state: 'retrying',
        error: new PosternError('TIMED_OUT', `${'x'.repeat(300)} 表表表表 \u001b[2J\nend`),
      }),
    ]
    for (let columns = 20; columns <= 140; columns += 1)
      for (const height of [1, 5, 200]) {
        const lines = renderTable(odd, 'forwards.yaml: 1 of 4 up. Ctrl-C ends them.', {
          columns,
          rows: height,
          colour: true,
        })
        expect(lines.length).toBeLessThanOrEqual(Math.max(1, height - 1))
        for (const line of lines) expect(widthOf(line), line).toBeLessThan(columns)
        expect(lines.join('')).not.toMatch(/[\n\u0007]|\u001b\[2J/)
      }
  })

  it('shows first what somebody has to look at, where it is higher than the window', () => {
    const lines = renderTable(rows, 'the end', { ...wide, rows: 7 })
    expect(lines).toHaveLength(6)
    expect(lines[1]).toMatch(/^failed/)
    expect(lines.at(-1)).toBe('… 3 more lines: make the window higher')
  })

  it('has colours where they are wanted', () => {
    expect(renderTable(rows, '', { ...wide, colour: true })[1]).toContain('\u001b[32mup          \u001b[39m')
    expect(renderTable(rows, '', wide).join('')).not.toContain('\u001b')
  })
})

describe('the screen', () => {
  it('draws in the place of what it drew, also where lines took more rows since; what is said stays above', async () => {
    let written = ''
    const heard = new Set<() => void>()
    const terminal = {
      columns: 20,
      rows: 10,
      write: (text: string) => void (written += text),
      on: (_event: 'resize', listener: () => void) => heard.add(listener),
      off: (_event: 'resize', listener: () => void) => heard.delete(listener),
    }
    let lines = ['one two three', 'four']
    const drawn = async () => {
      written = ''
      await new Promise(resolve => setTimeout(resolve, 80))
      return written
    }
    const screen = new Screen(terminal, () => lines)
    screen.update()
    screen.update()
    expect(await drawn()).toBe('one two three\nfour\n')
    lines = ['five']
    terminal.columns = 10 // `one two three` takes two rows by now
    for (const listener of heard) listener()
    expect(await drawn()).toBe('\r\u001b[3A\u001b[Jfive\n')
    screen.above(() => terminal.write('said\n'))
    expect(written).toMatch(/\r\u001b\[1A\u001b\[Jsaid\nfive\n$/)
    written = ''
    await screen.without(async () => {
      screen.update()
      screen.above(() => terminal.write('asked\n'))
      await new Promise(resolve => setTimeout(resolve, 80))
      expect(written).toBe('\r\u001b[1A\u001b[Jasked\n')
    })
    expect(written).toMatch(/asked\nfive\n$/)
    screen[Symbol.dispose]()
    screen.update()
    expect(await drawn()).toBe('')
    expect(heard.size).toBe(0)
  })
})
