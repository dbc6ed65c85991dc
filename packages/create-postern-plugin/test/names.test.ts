import { describe, expect, it } from 'vitest'
import { namesOf } from '../src/names.ts'

const at = (word: string, name?: string) => namesOf(word, 'protocol', name, '/home/ann')

describe('names', () => {
  it.each([
    ['postern-protocol-redis', 'postern-protocol-redis', 'redis', '/home/ann/postern-protocol-redis'],
    ['postern-plugin-redis', 'postern-plugin-redis', 'redis', '/home/ann/postern-plugin-redis'],
    ['my-thing', 'my-thing', 'my-thing', '/home/ann/my-thing'],
    ['@ann/postern-redis', '@ann/postern-redis', 'redis', '/home/ann/postern-redis'],
    ['./plugins/redis/', 'redis', 'redis', '/home/ann/plugins/redis'],
    ['/srv/protocol-', 'protocol-', 'protocol-', '/srv/protocol-'],
    ['.', 'ann', 'ann', '/home/ann'],
  ])('%s is the package %s, the plugin %s in %s', (word, packageName, plugin, folder) => {
    expect(at(word)).toEqual({ package: packageName, plugin, folder })
  })

  it('the plugin’s name is that which was given', () => {
    expect(at('x', 'redis-7')).toMatchObject({ package: 'x', plugin: 'redis-7' })
  })

  it.each(['Redis', 'two words', '.hidden', '_x', '@ann/', '@/x', 'node_modules', 'x'.repeat(215), 'a\nb', '', '/'])(
    '%j is no package',
    word => {
      expect(at(word === '' ? '/' : word)).toMatch(/is no name of a package/)
    },
  )

  it.each(['Redis', '7redis', 'a_b', 'a.b', '-x', 'x'.repeat(33), '../x', ''])('%j is no plugin', name => {
    expect(at('fine', name)).toMatch(/is no name of a plugin/)
  })

  it('says which name to give where none can be made of the package’s', () => {
    expect(at('7up')).toMatch(/"7up" is no name of a plugin.*--name/)
  })
})
