// A copy of this repository to rehearse a release in: its files as they are now, its history, what was built; nothing is installed anew.
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, globSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'

interface Manifest {
  readonly name: string
  readonly private?: boolean
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
}

export function copyRepository(root: string, to: string): void {
  const git = (folder: string, ...args: string[]) => execFileSync('git', ['-C', folder, ...args], { encoding: 'utf8' })
  execFileSync('git', ['clone', '--quiet', '--shared', '--no-checkout', root, to])
  git(to, 'reset', '--quiet')
  git(to, 'update-ref', 'refs/heads/main', 'HEAD') // what changesets compares with; in CI there may be no such branch
  git(to, 'config', 'user.name', 'rehearsal')
  git(to, 'config', 'user.email', 'rehearsal@localhost')
  const files = git(root, 'ls-files', '-z', '--cached', '--others', '--exclude-standard').split('\0')
  for (const file of files) if (file && existsSync(join(root, file))) cpSync(join(root, file), join(to, file))
  for (const dist of globSync('{packages,plugins,apps}/*/dist', { cwd: root }))
    cpSync(join(root, dist), join(to, dist), { recursive: true })
  link(join(root, 'node_modules', '@changesets'), join(to, 'node_modules', '@changesets')) // whose changelogs its config names
  linkPackages(to)
}

/** Where pnpm looks for the version that `workspace:^` stands for. */
function linkPackages(to: string): void {
  const files = globSync(['{packages,plugins,apps}/*/package.json', '{e2e,bench}/package.json'], { cwd: to })
  const manifests = files.map(file => ({
    folder: join(to, dirname(file)),
    manifest: JSON.parse(readFileSync(join(to, file), 'utf8')) as Manifest,
  }))
  const folders = new Map(manifests.map(({ folder, manifest }) => [manifest.name, folder]))
  for (const { folder, manifest } of manifests)
    for (const [name, range] of Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })) {
      const target = folders.get(name)
      if (range.startsWith('workspace:') && target) link(target, join(folder, 'node_modules', name))
    }
}

function link(target: string, path: string): void {
  mkdirSync(dirname(path), { recursive: true })
  symlinkSync(target, path)
}
