import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { programsMadeOf } from '../../scripts/bundled.ts'
import { installedTwice, judgeContents, lint, unpack } from '../../scripts/pack-contents.ts'
import { checkReadmes } from '../../scripts/readme-check.ts'
import { temporaryFolder } from '../world/folder.ts'

const GOOD = {
  name: 'some-package',
  version: '1.0.0',
  description: 'a package',
  license: 'Apache-2.0',
  type: 'module',
  engines: { node: '>=24' },
  repository: { type: 'git', url: 'git+https://example.com/postern.git', directory: 'packages/some' },
  publishConfig: { access: 'public', provenance: true },
  exports: { '.': './dist/index.js' },
  files: ['dist', 'templates'],
  dependencies: { zod: '^4.1.0' },
}
const README = "```js\nimport { one } from 'some-package'\nconsole.log(one)\n```\n"
const FILES = {
  'README.md': README,
  LICENSE: 'as you like',
  'dist/index.js': 'export const one = 1\n',
  'templates/package.json': '{ "name": "my-package", "exports": "./src/index.js" }',
}

describe('what is looked for in a package before it is published', () => {
  const folder = temporaryFolder()
  afterAll(() => folder[Symbol.dispose]())
  let count = 0

  /** A tarball with these files, and the folder in a repository that it would come from. */
  function packed(manifest: object, files: Readonly<Record<string, string>>) {
    const place = join(folder.path, `${count++}`)
    const all = { ...files, 'package.json': JSON.stringify(manifest) }
    for (const [name, text] of Object.entries(all)) {
      mkdirSync(dirname(join(place, 'package', name)), { recursive: true })
      writeFileSync(join(place, 'package', name), text)
    }
    const source = join(place, 'source')
    mkdirSync(join(source, 'src'), { recursive: true })
    writeFileSync(join(source, 'src', 'index.ts'), '')
    const tarball = join(place, 'package.tgz')
    execFileSync('tar', ['-czf', tarball, '-C', place, 'package'])
    const one = unpack(tarball, join(place, 'unpacked'))
    return { one, tarball, findings: judgeContents(one, source, 'packages/some') }
  }

  it('a good one has no findings, templates in it neither', async () => {
    const { one, tarball, findings } = packed(GOOD, FILES)
    expect(findings).toEqual([])
    expect(await lint(one, tarball)).toEqual([])
  })

  it('files for development, and what a source left in dist that is gone', () => {
    const dev = [
      'src/index.ts',
      'dist/index.js.map',
      'tsconfig.json',
      '.env',
      'test/index.test.js',
      'dist/.tsbuildinfo',
    ]
    const { findings } = packed(GOOD, {
      ...FILES,
      ...Object.fromEntries(dev.map(name => [name, ''])),
      'dist/old.js': '',
    })
    for (const name of dev) expect(findings).toContain(`${name} has no business in a tarball`)
    expect(findings).toContain('dist/old.js has no source any more: remove dist, and build')
    expect(findings).toHaveLength(dev.length + 1)
  })

  it('a manifest without provenance, with a script that runs where it is installed, with a dependency nobody has', () => {
    const { publishConfig: _, ...manifest } = {
      ...GOOD,
      scripts: { postinstall: 'curl …' },
      dependencies: { zod: 'workspace:^' },
    }
    const { findings } = packed(manifest, { ...FILES, 'README.md': README })
    expect(findings.map(line => line.split(/[:,]/)[0])).toEqual([
      'no provenance',
      'it would run something where it is installed',
      'it depends on zod workspace',
    ])
  })

  it('an export that is not there', async () => {
    const { one, tarball } = packed({ ...GOOD, exports: { '.': './dist/main.js' } }, FILES)
    expect((await lint(one, tarball)).join()).toContain('dist/main.js')
  })

  it('a dependency that is in the bundle as well', () => {
    const notices = { 'dist/THIRD-PARTY.txt': 'zod 4.1.0 (MIT)\n\nas is\n' }
    const { one } = packed(GOOD, { ...FILES, ...notices })
    const project = join(folder.path, 'project')
    for (const name of ['some-package', 'zod', 'other']) {
      mkdirSync(join(project, 'node_modules', name), { recursive: true })
      writeFileSync(join(project, 'node_modules', name, 'package.json'), '{}')
    }
    expect(installedTwice(one, project)).toEqual(['zod is in its bundle, and installed beside it again'])
  })

  it('an example that does not run, none at all, and a flag that its program does not have', async () => {
    const project = join(folder.path, 'examples')
    const { one } = packed(GOOD, FILES)
    const program = join(project, 'node_modules', '.bin', 'some')
    const module = join(project, 'node_modules', 'some-package')
    for (const made of [dirname(program), join(module, 'dist')]) mkdirSync(made, { recursive: true })
    writeFileSync(program, '#!/bin/sh\necho "some --fast"\n', { mode: 0o755 })
    writeFileSync(join(module, 'package.json'), JSON.stringify(GOOD))
    writeFileSync(join(module, 'dist', 'index.js'), FILES['dist/index.js'])
    const readme = join(project, 'README.md')
    const check = async (text: string, programs: readonly string[]) => {
      writeFileSync(readme, text)
      return checkReadmes([{ name: one.manifest.name, readme, programs, exports: ['some-package'] }], project)
    }
    const commands = '```sh\nsome thing --fast  # --not-a-flag\n```\n'
    expect(await check(README + commands, ['some'])).toEqual([])
    expect((await check(README.replace('one', 'two'), [])).join()).toContain('its example does not run')
    expect(await check('# Nothing\n', [])).toEqual(['some-package: README: no example imports it'])
    expect(await check(README + commands.replace('fast', 'slow'), ['some'])).toEqual([
      'some-package: README: some thing has no --slow',
    ])
  })
})

describe('a program is released with what it is made of', () => {
  it('all of them with what all of them speak', () => {
    expect(programsMadeOf(['@postern/yamux'])).toEqual(['postern', '@postern/daemon', '@postern/edge'])
  })

  it('one with what it alone has; none with what none has, or where it is named itself', () => {
    expect(programsMadeOf(['@postern/protocol-http'])).toEqual(['@postern/daemon'])
    expect(programsMadeOf(['@postern/compliance'])).toEqual([])
    expect(programsMadeOf(['@postern/protocol-http', '@postern/daemon'])).toEqual([])
  })
})
