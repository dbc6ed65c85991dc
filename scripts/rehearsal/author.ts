// Authors of plugins, who have what the registry has and nothing of this repository: one writes by hand, one begins with
// `npm create postern-plugin`, and publishes.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { installInProject, run, type Shop, same, well } from './people.ts'

const MANIFEST = {
  name: 'postern-auth-badge',
  version: '1.0.0',
  type: 'module',
  exports: { './client': './client.js', './package.json': './package.json' },
  postern: {
    api: 1,
    plugins: [
      { kind: 'auth', name: 'badge', summary: 'a badge', options: { client: ['badge'] }, client: './client.js' },
    ],
  },
}

/** @param besides something more that it does each time */
const client = (besides: string) => `import { definePlugin, PosternError } from '@postern/interface'

export default definePlugin({
  kind: 'auth',
  side: 'client',
  name: 'badge',
  options: { badge: { type: 'secret', summary: 'your badge', required: true } },
  create: ({ badge }) => ({
    async authenticate({ refused }, { signal, log }) {
      signal.throwIfAborted()
      if (refused) throw new PosternError('AUTH_REJECTED', 'the edge did not take this badge')
      ${besides}
      return { headers: { 'x-badge': badge } }
    },
  }),
})
`

const TEST = `import { describe, it } from 'node:test'
import { authClientCompliance, pluginCompliance } from '@postern/compliance'
import client from './client.js'

pluginCompliance({ describe, it, package: new URL('./package.json', import.meta.url) })
authClientCompliance({ describe, it, client, clientOptions: { badge: 'a5ecret-badge' } })
`

/** A plugin passes the kit; the same one that tells its secret to the log does not. */
export async function writePlugin(shop: Shop): Promise<void> {
  const project = await installInProject(shop, 'author', ['@postern/interface', '@postern/compliance'])
  const file = (name: string, text: string) => writeFileSync(join(project, name), text)
  file('package.json', `${JSON.stringify(MANIFEST, null, 2)}\n`)
  file('badge.test.js', TEST)
  const test = () => run(process.execPath, ['--test', 'badge.test.js'], { cwd: project, env: shop.env })
  file('client.js', client("log.info('a badge is shown')"))
  const { stdout } = await well(test())
  if (!/^. pass [1-9]/m.test(stdout)) throw new Error(`no case of the compliance kit was run\n${stdout}`)
  file('client.js', client('log.info(badge)'))
  const bad = await test()
  if (bad.status === 0 || !bad.stdout.includes('secrets never reach the log'))
    throw new Error(`a plugin that logs its secret passes\n${bad.stdout}`)
}

const NAME = 'postern-protocol-parrot'

/** From nothing to somebody else's `postern`, in which it is listed as it was published. */
export async function publishPlugin(shop: Shop, postern: string): Promise<void> {
  const { folder, env } = shop
  const desk = join(folder, 'second-author')
  mkdirSync(desk, { recursive: true })
  const npm = (cwd: string, ...args: string[]) => well(run('npm', args, { cwd, env }, 240_000))
  await npm(desk, 'create', '--yes', 'postern-plugin@latest', NAME, '--', '--kind', 'protocol')
  const project = join(desk, NAME)
  await npm(project, 'install')
  await npm(project, 'test')
  await npm(project, 'version', '1.2.3', '--no-git-tag-version')
  await npm(project, 'publish')
  await well(run(postern, ['plugins', 'add', `${NAME}@1.2.3`], { env }))
  const { stdout } = await well(run(postern, ['plugins', 'list', '--json'], { env }))
  same(stdout.includes(`"${NAME}"`) && stdout.includes('"1.2.3"'), true, `what is listed\n${stdout}`)
}
