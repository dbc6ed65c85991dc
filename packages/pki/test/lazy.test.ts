import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const index = join(import.meta.dirname, '../dist/index.js')

/** The packages of others that are loaded, as a program sees it that is just started. */
function loadedBy(code: string): readonly string[] {
  const program = `
    import { registerHooks } from 'node:module'
    const seen = new Set()
    registerHooks({ resolve: (what, context, next) => {
      const name = /^(@[^/]+\\/)?[^/.:][^/:]*(?=\\/|$)/.exec(what)?.[0]
      if (name && !what.startsWith('node:')) seen.add(name)
      return next(what, context)
    } })
    const pki = await import(${JSON.stringify(index)})
    ${code}
    console.log(JSON.stringify([...seen]))`
  return JSON.parse(execFileSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' }))
}

test('the libraries come when they are needed, and not before', () => {
  const heavy = (code: string) => loadedBy(code).filter(name => name.startsWith('@peculiar/') || name === 'node-forge')
  expect(heavy('')).toEqual([])
  expect(heavy('pki.publicKeyOf(await pki.makeKey())')).toEqual([])
  expect(heavy("await pki.createAuthority({ commonName: 'CA', days: 1 })")).toContain('@peculiar/asn1-x509')
  expect(heavy("await pki.createAuthority({ commonName: 'CA', days: 1 })")).not.toContain('node-forge')
  expect(heavy('await pki.readPkcs12(new Uint8Array(), undefined).catch(() => {})')).toContain('node-forge')
})
