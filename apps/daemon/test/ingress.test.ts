import { describe, expect, it } from 'vitest'
import { portOf, readRule, showService } from '../src/ingress.ts'

const ports = new Map<string, number | 'none'>([
  ['ssh', 22],
  ['tcp', 'none'],
  ['unix', 'none'],
  ['http', 80],
])
const read = (service: string, hostname = 'db.example.com') => readRule(hostname, service, scheme => ports.get(scheme))

describe('an ingress rule', () => {
  it.each([
    ['ssh://localhost', 'ssh://localhost:22', 22],
    ['ssh://localhost:2222', 'ssh://localhost:2222', 2222],
    ['tcp://db.internal:5432', 'tcp://db.internal:5432', 5432],
    ['tcp://db.internal:5432/', 'tcp://db.internal:5432', 5432],
    ['tcp://[::1]:5432', 'tcp://[::1]:5432', 5432],
    ['http://localhost', 'http://localhost', 80],
    ['http://localhost:80', 'http://localhost', 80],
    ['http://localhost:8080', 'http://localhost:8080', 8080],
    ['unix:/run/app.sock', 'unix:/run/app.sock', 0],
    ['unix:///run/app.sock', 'unix:/run/app.sock', 0],
    ['unix:/run/app/../../etc/x.sock', 'unix:/etc/x.sock', 0], // shown as what it is
  ])('%s is %s', (text, shown, port) => {
    const { service } = read(text)
    expect([showService(service), portOf(service)]).toEqual([shown, port])
  })

  it('has the hostname of an application, without the edge’s port', () => {
    expect(read('tcp://localhost:1', 'DB.localhost:8443').hostname).toBe('db.localhost')
  })

  it.each([
    ['localhost:5432', 'has the scheme localhost:'],
    ['localhost', 'is not a URL'],
    ['', 'is not a URL'],
    ['ftp://localhost:21', 'has the scheme ftp:, which no plugin of this daemon serves'],
    ['tcp://localhost', 'names no port'],
    ['tcp://localhost:0', 'names no port'],
    ['tcp://localhost:70000', 'is not a URL'],
    ['tcp:///x', 'names no host'],
    ['tcp://user:hunter2@localhost:1', 'has a user or password in it'],
    ['tcp:user:hunter2@localhost:1', 'names no host'],
    ['tcp://us/er:hunter2@localhost:1', 'names no port'],
    ['tcp://user:hunter2@local host:1', 'is not a URL'],
    ['user:hunter2@localhost:1', 'has the scheme user:'],
    ['tcp://localhost:1/path', 'has a path'],
    ['tcp://localhost:1?query', 'has a path'],
    ['tcp://localhost:1#part', 'has a path'],
    ['unix:run/app.sock', 'needs an absolute path'],
    ['unix://host/run/app.sock', 'names a host'],
    ['unix:/run/app.sock?x', 'has a ? # or %'],
    ['unix:/run/app.sock#x', 'has a ? # or %'],
    ['unix:/run/%zz', 'has a ? # or %'],
    ['unix:/run/app%00.sock', 'has a ? # or %'],
  ])('the service %j is refused: it %s', (service, why) => {
    expect(() => read(service)).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID', message: expect.stringContaining(why) }),
    )
    expect(() => read(service)).not.toThrow(/hunter2/)
  })

  it.each(['localhost:5432', 'redis://localhost'])(
    '%s: says how a service is written, and whose a scheme may be',
    service => {
      const next = expect.stringMatching(/tcp:\/\/localhost:5432.* --plugin PACKAGE/)
      expect(() => read(service)).toThrow(expect.objectContaining({ next }))
    },
  )

  it('the hostname is checked as strictly as everywhere', () => {
    expect(() => read('tcp://localhost:1', '$(id)')).toThrow(expect.objectContaining({ code: 'HOSTNAME_INVALID' }))
  })
})
