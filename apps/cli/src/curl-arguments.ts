import { PosternError } from '@postern/interface'

/**
 * What curl must not be told beside a credential, and why. Its headers go along to wherever a redirect leads, to every address
 * on the line, and into every trace; these would undo what keeps them with the one application.
 */
const REFUSED: Readonly<Record<string, string>> = {
  next: 'starts a request that is not kept to the application',
  config: 'may say anything that is refused here',
  'connect-to': 'says where the application is; that is --edge’s to say',
  resolve: 'says where the application is; that is --edge’s to say',
  'unix-socket': 'says where the application is, and every host that a redirect names',
  'abstract-unix-socket': 'says where the application is, and every host that a redirect names',
  'expand-': 'may say anything that is refused here, by another name',
  proto: 'would allow a credential in clear text',
  'proto-redir': 'would allow a credential in clear text',
  'proto-default': 'would allow a credential in clear text',
  'location-trusted': 'hands credentials to whoever a redirect names',
  insecure: 'would show the credential to whoever answers; give your CA with --ca',
  cacert: 'says whom to trust for the edge; that is --ca’s to say',
  capath: 'says whom to trust for the edge; that is --ca’s to say',
  proxy: 'puts somebody between you and the edge',
  preproxy: 'puts somebody between you and the edge',
  'proxy1.0': 'puts somebody between you and the edge',
  socks4: 'puts somebody between you and the edge',
  socks4a: 'puts somebody between you and the edge',
  socks5: 'puts somebody between you and the edge',
  'socks5-hostname': 'puts somebody between you and the edge',
  noproxy: 'is decided already: the edge is asked without a proxy',
  trace: 'writes the credential into a file; -v does not',
  'trace-ascii': 'writes the credential into a file; -v does not',
  stderr: 'writes what -v tells into a file',
  libcurl: 'writes the credential into a file',
  parallel: 'is for several addresses; name one application',
}
/** One-letter spellings of the above. */
const LETTERS: Readonly<Record<string, string>> = { ':': 'next', K: 'config', k: 'insecure', x: 'proxy', Z: 'parallel' }
/** Options of curl that begin like refused ones, and are none. curl takes the beginning of a name for the name. */
const ALLOWED: ReadonlySet<string> = new Set(['location', 'proxy-header'])
/** One-letter options that take what stands behind them in the word as their value: no letter behind them is an option. */
const WITH_VALUE = 'AbcCdDeEFhHKmoPQrtTuUwxXyYz'

/**
 * Looks for what cannot be made safe among what is handed to curl.
 *
 * @throws PosternError OPTION_CONFLICT naming it, and why
 */
export function refuseUnsafe(words: readonly string[]): void {
  for (const [at, word] of words.entries()) {
    const name = refusedIn(word)
    if (name !== undefined)
      throw new PosternError('OPTION_CONFLICT', `access curl does not take ${told(word)}: it ${REFUSED[name]}`, {
        next: `Leave it out. Without a credential, curl itself takes it.`,
      })
    const header = headerIn(word, words[at + 1])
    if (header !== undefined && /^\s*(host|postern-[^:;]*)\s*[:;]/i.test(header))
      throw new PosternError('OPTION_CONFLICT', 'access curl does not take a Host header, or one of Postern’s own', {
        next: 'Name the application that is meant as the address.',
      })
    if (header?.startsWith('@'))
      throw new PosternError('OPTION_CONFLICT', 'access curl takes no file of headers: it may hold a Host', {
        next: 'Write each header as -H "Name: value".',
      })
  }
}

/** Whether curl would tell the headers that it sends. */
export function isVerbose(words: readonly string[]): boolean {
  return words.some(word => /^--verb/.test(word) || lettersOf(word).includes('v'))
}

function refusedIn(word: string): string | undefined {
  const letter = lettersOf(word).find(one => LETTERS[one] !== undefined)
  if (letter !== undefined) return LETTERS[letter]
  const name = /^--([^=]+)/.exec(word)?.[1]
  if (name === undefined || ALLOWED.has(name)) return undefined
  if (name.startsWith('expand-')) return 'expand-'
  return Object.keys(REFUSED).find(one => one === name || (name.length > 1 && one.startsWith(name)))
}

/** The options in a word like `-sSLo`. */
function lettersOf(word: string): readonly string[] {
  if (!/^-[^-]/.test(word)) return []
  const letters: string[] = []
  for (const letter of word.slice(1)) {
    letters.push(letter)
    if (WITH_VALUE.includes(letter)) break
  }
  return letters
}

function headerIn(word: string, next: string | undefined): string | undefined {
  if (/^--he(a(d(er?)?)?)?$/.test(word) && word !== '--head') return next
  const long = /^--header=(.*)$/s.exec(word)?.[1]
  if (long !== undefined) return long
  const letters = lettersOf(word)
  if (letters.at(-1) !== 'H') return undefined
  const stuck = word.slice(1 + letters.length)
  return stuck === '' ? next : stuck
}

function told(word: string): string {
  return /^--[a-z0-9.-]+/.exec(word)?.[0] ?? word.slice(0, 2)
}
