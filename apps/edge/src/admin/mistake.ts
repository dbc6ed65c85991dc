import { PosternError } from '@postern/interface'

type Issue = {
  readonly code?: string | undefined
  readonly path: readonly PropertyKey[]
  readonly message: string
  readonly keys?: readonly string[]
}

const LONGEST_NAME = 64

/**
 * What a schema found, as one sentence with the place: `body.rules[0].include[1]: …`. The value itself, which may be long or
 * secret, is never repeated.
 */
export function mistakeOf(
  part: 'params' | 'query' | 'body',
  { issues }: { readonly issues: readonly Issue[] },
): PosternError {
  const [issue] = issues
  const path = issue === undefined ? '' : pathOf(issue.path)
  const where = part === 'body' ? path.replace(/^\./, '') || 'the body' : `${part === 'params' ? 'path' : part}${path}`
  return new PosternError('BAD_USAGE', `${where}: ${issue === undefined ? 'not valid' : reasonOf(issue)}`, {
    speaker: 'edge',
  })
}

function pathOf(path: readonly PropertyKey[]): string {
  return path.map(part => (typeof part === 'number' ? `[${part}]` : `.${String(part).slice(0, LONGEST_NAME)}`)).join('')
}

function reasonOf({ code, message, keys }: Issue): string {
  if (code === 'unrecognized_keys') {
    return `has a member that is not known: ${JSON.stringify((keys?.[0] ?? '').slice(0, LONGEST_NAME))}`
  }
  if (code === 'invalid_union') return 'has none of the forms it may have'
  return message.replace(/^Invalid (input|string): /, '')
}
