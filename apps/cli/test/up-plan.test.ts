import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseConfigText } from '@postern/program'
import { createRegistry } from '@postern/registry'
import { afterAll, describe, expect, it } from 'vitest'
import { builtins } from '../src/builtin.ts'
import { EXAMPLE } from '../src/up/flags.ts'
import { readPlan } from '../src/up/plan.ts'
import { postern } from './postern.ts'

const folder = mkdtempSync(join(tmpdir(), 'postern-up-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const file = join(folder, 'f.yaml')

const read = async (text: string) => readPlan(await parseConfigText('/etc/f.yaml', text), createRegistry(builtins))
const up = (text: string, ...more: readonly string[]) => {
  writeFileSync(file, text, { mode: 0o600 })
  return postern(['access', 'up', '-f', file, ...more], { cwd: folder })
}
/** Everything it says is wrong, from the place on. */
async function mistakes(text: string): Promise<string[]> {
  const { code, stdout, stderr } = await up(text, '--check', '--json')
  expect([code, stdout]).toEqual([3, ''])
  const lines = stderr
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))
  const told = lines.length === 1 ? [lines[0].error] : lines.slice(0, -1)
  return told.map(({ message, next }) => `${message.replace(`${file}:`, '')} → ${next}`)
}

describe('a file of forwards', () => {
  it('says for each what it says, and for all what one does not say itself', async () => {
    const { forwards, mistakes } = await read(`
ca: ca.pem
endToEnd: true
id: pst_all
secretFile: all
forwards:
  - { hostname: "DB.example.com:8443", listen: 5432 }
  - { hostname: ssh.example.com, listen: "[::1]:8022", protocol: ssh, endToEnd: false }
  - { hostname: q.example.com, listen: ./q.sock, id: pst_q, secretFile: q }
  - { hostname: me.example.com, listen: "0", auth: browser-sso }
`)
    expect(mistakes).toEqual([])
    expect(
      forwards.map(({ hostname, local, protocol, section }) => [hostname, local, protocol, section.values]),
    ).toEqual([
      [
        'DB.example.com:8443',
        { host: '127.0.0.1', port: 5432 },
        'tcp',
        { ca: 'ca.pem', endToEnd: true, id: 'pst_all', secretFile: 'all' },
      ],
      [
        'ssh.example.com',
        { host: '::1', port: 8022 },
        'ssh',
        { ca: 'ca.pem', endToEnd: false, id: 'pst_all', secretFile: 'all' },
      ],
      ['q.example.com', { path: '/etc/q.sock' }, 'tcp', { ca: 'ca.pem', endToEnd: true, id: 'pst_q', secretFile: 'q' }],
      // Half of one credential is never sent with half of another.
      ['me.example.com', { host: '127.0.0.1', port: 0 }, 'tcp', { ca: 'ca.pem', endToEnd: true, auth: 'browser-sso' }],
    ])
    expect(new Set(forwards.map(({ key }) => key)).size).toBe(4)
  })

  it('the one in the help has no mistake', async () => {
    const { code, stdout } = await up(EXAMPLE, '--check')
    expect([code, stdout]).toEqual([0, `${file}: 3 forwards, no mistake\n`])
    expect((await postern(['access', 'up', '--help'])).stdout).toContain('- { hostname: db.example.com, listen: 5432 }')
  })

  it('every mistake is told at once, each with its line and column and what to write', async () => {
    expect(
      await mistakes(`pin: sha256:00
forwards:
  - { hostname: db.example.com, listen: 5432 }
  - hostnme: ssh.example.com
    url: 8022
  - { hostname: "https://x.example.com", listen: localhost }
  - hostname: y.example.com
    listen: localhost:5432
    end-to-end: true
    secretfile: x
  - { hostname: z.example.com, listen: "*:5432", protocol: tpc }
  - { listen: 1 }
  - { hostname: 5 }
  - word
`),
    ).toEqual([
      expect.stringMatching(/^1:1: there is no key "pin" here → There are: /),
      '4:5: there is no key "hostnme" here → Did you mean hostname?',
      '5:5: there is no key "url" here → Did you mean listen?',
      '6:7: "https://x.example.com" is not a hostname → Write it without the scheme: x.example.com',
      expect.stringMatching(/^6:42: listen: "localhost" is not a local address .* → Write listen: 5432/),
      '9:5: there is no key "end-to-end" here → Did you mean endToEnd?',
      '10:5: there is no key "secretfile" here → Did you mean secretFile?',
      '8:5: y.example.com cannot be at 127.0.0.1:5432 as well: db.example.com is (3:33) → Give one of them another port.',
      '11:50: there is no such protocol here → Did you mean tcp?',
      expect.stringMatching(/^12:5: this forward has no hostname/),
      expect.stringMatching(/^13:7: a hostname is a text/),
      expect.stringMatching(/^13:5: this forward does not say where to listen → Write/),
      expect.stringMatching(/^14:5: a forward is `key: value` lines/),
      expect.stringMatching(/^14:5: this forward has no hostname/),
      expect.stringMatching(/^14:5: this forward does not say where to listen/),
    ])
  })

  it('each value is as the option of its plugin wants it', async () => {
    expect(
      await mistakes(`auth: servce-token
transport: websocked
edge: edge.example.com
forwards:
  - { hostname: a.example.com, listen: 1, pin: abc, endToEnd: "yes" }
  - { hostname: b.example.com, listen: 2, auth: browser-sso, id: a }
  - { hostname: c.example.com, listen: 3, auth: [service-token, mtls], id: 5, cert: "" }
`),
    ).toEqual([
      '1:1: auth is "servce-token", which there is not → Did you mean service-token?',
      '2:1: transport is "websocked", which there is not → Did you mean websocket?',
      expect.stringMatching(/^3:1: edge is "edge.example.com", not a URL with its scheme/),
      expect.stringMatching(/^5:43: pin is sha256: and 64/),
      expect.stringMatching(/^5:53: endToEnd is "yes", not true or false/),
      '6:62: id is no option of what this forward uses → Leave it out, or name its plugin with auth.',
      expect.stringMatching(/^7:72: id is 5, not a text/),
      expect.stringMatching(/^7:79: cert is empty, not a path/),
    ])
  })

  it.each([
    ['no forward', 'forwards: []', '1:1: there is no forward → Write `forwards:`'],
    ['nothing', '', '1:1: there is no forward → Write `forwards:`'],
    ['a web application', 'forwards: [{ hostname: a.b, listen: 1, protocol: http }]', 'postern access http'],
    ['what is no YAML', 'forwards: [', ':'],
    [
      'a plugin that is no text',
      'plugins: [1]\nforwards: [{ hostname: a.b, listen: 1 }]',
      '1:11: a plugin is the name',
    ],
  ])('%s', async (_what, text, said) => {
    const [first = '', ...more] = await mistakes(text)
    expect(first).toContain(said)
    expect(more).toEqual([])
  })

  it('a mistake ends it before any work: nothing is listened at', async () => {
    const { code, stdout, stderr } = await up('forwards: [{ hostname: a.b, listen: 1 }, { hostname: c.d, listen: 1 }]')
    expect([code, stdout]).toEqual([3, ''])
    expect(stderr).toContain('Give one of them another port.')
  })

  it('what is no forward’s on the command line, and what none can do without, is told before any work', async () => {
    const one = 'forwards: [{ hostname: a.b, listen: 1 }]'
    expect((await up(one, '--idd', 'x')).stderr).toContain('Did you mean --id?')
    expect((await up(one, 'word')).stderr).toContain('nothing is done with "word"')
    expect((await up(one, '--cert', 'x', '--id', 'y')).code).toBe(2)
    const lacking = await up('forwards: [{ hostname: a.b, listen: 1, id: x }]')
    expect([lacking.code, lacking.stdout]).toEqual([2, ''])
    expect(lacking.stderr).toMatch(/^postern: a\.b: --secret is missing .* secret of the forward at .*:1:12/)
  })
})
