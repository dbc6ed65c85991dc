import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Access, type Applied, ROUTES } from '@postern/admin'
import { PosternError } from '@postern/interface'
import { terminal } from '@postern/program'
import { type Context, command } from './command.ts'
import { summaryOf, textOf } from './diff.ts'
import { placed, type Read, readDocument } from './document.ts'
import { reserve } from './secret-files.ts'
import { facts, safe, yamlOf } from './show.ts'

const OPTIONS = {
  file: { type: 'string', required: true, aliases: ['f'], summary: 'what there shall be, YAML or JSON; - is stdin' },
  dryRun: { type: 'boolean', default: false, summary: 'say what would change, and change nothing' },
  prune: { type: 'boolean', default: false, summary: 'of each kind in the file, remove what is not listed' },
  yes: { type: 'boolean', default: false, summary: 'do not ask before something is removed' },
  secretsDir: { type: 'path', summary: 'folder for the secrets of new service tokens, a new file each' },
} as const

type ApplyContext = Context<never, typeof OPTIONS>

const ACCESS = ROUTES['access.apply'].body.shape.access

export const APPLY = command({
  summary: 'make the edge what a file says: tunnels, service tokens, applications and their rules',
  options: OPTIONS,
  example: 'postern admin apply -f access.yaml --dry-run',
  async run(context) {
    const { values, program, call, ask, say } = context
    const document: Read<Access> = await readDocument(values.file, ACCESS, program, call)
    const wanted = { access: document.value, prune: values.prune }
    const plan = await ask('access.apply', { body: { ...wanted, dryRun: true } }).catch(error => {
      throw placed(error, document)
    })
    if (values.dryRun || plan.changes.length === 0) return plan
    if (!program.json) for (const line of textOf(plan).split('\n')) say(line)
    await confirm(plan, context)
    await using files = await secretFilesFor(plan, values.secretsDir)
    const applied = await ask('access.apply', { body: { ...wanted, ifVersion: plan.version } }).catch(explainConflict)
    const secrets = await files.keep(applied.secrets)
    return { ...applied, secrets }
  },
  show(result) {
    const secrets = result.secrets.map(({ name, id, ...more }) =>
      facts([['service token', name], ['id', id], ...(Object.entries(more) as [string, string][])]),
    )
    const diff = result.done ? '' : textOf(result)
    return `${diff}${summaryOf(result)}\n${secrets.map(one => `\n${one}`).join('')}`
  },
})

export const EXPORT = command({
  summary: 'print everything as the file that `apply` takes',
  example: 'postern admin export > access.yaml',
  run: ({ ask }) => ask('access.get', {}),
  show: document => yamlOf(document),
})

export const OPENAPI = command({
  summary: 'print the API as an OpenAPI document',
  example: 'postern admin openapi > openapi.json',
  run: ({ ask }) => ask('openapi.get', {}),
  show: document => `${JSON.stringify(document, null, 2)}\n`,
})

/** Asks where something is taken away. @throws PosternError BAD_USAGE where nobody can answer, or the answer is no */
async function confirm(plan: Applied, { values, program, call }: ApplyContext): Promise<void> {
  const gone = plan.changes.filter(({ action }) => action === 'delete')
  if (gone.length === 0 || values.yes) return
  const what = gone.length === 1 ? `${gone[0]?.kind} ${gone[0]?.name}` : `${gone.length} things`
  const question = safe(`This removes ${what}, and cuts off whoever uses it. Go on? (yes/no)`)
  const asked = { ...call, signal: program.stop.gently }
  const answer = await terminal.ask(question, { secret: false }, asked).catch((error: unknown) => {
    if (!PosternError.is(error) || error.code !== 'LOGIN_REQUIRED') throw error
    throw new PosternError('BAD_USAGE', safe(`this would remove ${what}, and nobody can be asked`), {
      cause: error,
      next: 'Look at it with --dry-run, then add --yes.',
    })
  })
  if (!/^y(es)?$/i.test(answer.trim()))
    throw new PosternError('BAD_USAGE', 'nothing was changed, as you wished', { next: 'Nothing needs to be done.' })
}

function explainConflict(error: unknown): never {
  if (!PosternError.is(error) || error.code !== 'CONFLICT') throw error
  const { requestId } = error
  throw new PosternError('CONFLICT', 'the edge was changed by somebody else meanwhile; nothing was applied', {
    cause: error,
    speaker: 'edge',
    next: 'Run it again, and look at the changes anew.',
    ...(requestId !== undefined && { requestId }),
  })
}

type Secret = Applied['secrets'][number]
type Shown = { readonly name: string; readonly id: string } & ({ readonly secret: string } | { readonly file: string })

interface SecretFiles extends AsyncDisposable {
  keep(secrets: readonly Secret[]): Promise<readonly Shown[]>
}

/** A file for each service token that is to be made. A name has no slash in it and does not begin with a dot. */
async function secretFilesFor({ changes }: Applied, folder: string | undefined): Promise<SecretFiles> {
  if (folder === undefined) return { keep: async secrets => secrets, async [Symbol.asyncDispose]() {} }
  const names = changes
    .filter(({ kind, action }) => kind === 'service-token' && action === 'create')
    .map(one => one.name)
  const pathOf = (name: string) => {
    if (!/^[A-Za-z0-9][^/\\\0]*$/.test(name))
      throw new PosternError('EDGE_PROTOCOL', 'a service token’s name is no file’s')
    return join(folder, name)
  }
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const reserved = await reserve(names.map(pathOf))
  return {
    async keep(secrets) {
      const shown: Shown[] = []
      for (const { name, id, secret } of secrets) {
        await reserved.write(pathOf(name), secret)
        shown.push({ name, id, file: pathOf(name) })
      }
      return shown
    },
    [Symbol.asyncDispose]: () => reserved[Symbol.asyncDispose](),
  }
}
