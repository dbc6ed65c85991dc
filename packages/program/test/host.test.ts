import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { rootCertificates } from 'node:tls'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { clientHost } from '../src/host.ts'

const [ONE = '', OTHER = ''] = rootCertificates

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postern-host-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

/** What is kept by a program that was told to trust these. */
const secretsUnder = (...ca: string[]) => {
  const env = { XDG_CONFIG_HOME: folder, HOME: folder }
  return clientHost({ env }, { hostname: 'app.example.com', trust: { ca } }).secrets
}

describe('secrets of plugins', () => {
  test('row 122: what was signed in under one CA is nothing that another one’s edge is handed', async () => {
    await secretsUnder().set('team', 'of the system’s CAs')
    await secretsUnder(ONE).set('team', 'of one CA')
    expect(await secretsUnder(OTHER).get('team')).toBeUndefined()
    // Who trusts one more than before trusts another one too.
    expect(await secretsUnder(`${ONE}\n${OTHER}`).get('team')).toBeUndefined()
    await secretsUnder(OTHER).set('team', 'of the other')
    await secretsUnder(OTHER).delete('team')
    expect(await secretsUnder().get('team')).toBe('of the system’s CAs')
    expect(await secretsUnder(ONE).get('team')).toBe('of one CA')
  })

  test('the same certificates are the same CA, however the file is laid out', async () => {
    await secretsUnder(`${ONE}\n${OTHER}`).set('team', 'of both')
    for (const same of [`${OTHER}\r\n${ONE}\r\n`, `a comment\n${ONE}\n\n${OTHER}\n${ONE}`])
      expect(await secretsUnder(same).get('team')).toBe('of both')
    expect(readdirSync(join(folder, 'postern')).filter(name => name.startsWith('secrets'))).toHaveLength(1)
  })
})
