import { PosternError } from '@postern/interface'

/** Lines of context around a change, as diff has them. */
const CONTEXT = 3

/**
 * The text of an ssh_config with a stanza for a hostname, between two marks. It replaces the one of an earlier time; else it
 * goes to the end, where it changes the meaning of nothing: settings in front of the first `Host` stay in front of it.
 *
 * @param file for the message
 * @throws PosternError CONFIG_INVALID where a mark is missing or there twice: what lies between is not ours to guess
 */
export function withBlock(text: string, hostname: string, stanza: string, file: string): string {
  const [begin, end] = [`# >>> postern ${hostname}`, `# <<< postern ${hostname}`]
  const block = `${begin}\n# Written by \`postern access ssh-config --write\`, which replaces what is changed here.\n${stanza}${end}\n`
  const lines = linesOf(text)
  const begins = placesOf(lines, line => line === begin)
  const ends = placesOf(lines, line => line === end)
  if (begins.length === 0 && ends.length === 0) {
    const gap = text === '' ? '' : text.endsWith('\n') ? '\n' : '\n\n'
    return `${text}${gap}${block}`
  }
  const [from = -1, to = -1] = [begins[0], ends[0]]
  const inside = lines.slice(from + 1, to).some(line => /^# (>>>|<<<) postern /.test(line))
  if (begins.length !== 1 || ends.length !== 1 || from > to || inside) {
    throw new PosternError('CONFIG_INVALID', `${file}: the marks "${begin}" and "${end}" do not pair off`, {
      next: 'Remove both and what belongs between them, then run it again.',
    })
  }
  return [...lines.slice(0, from), block, ...lines.slice(to + 1)].join('')
}

/** The number of a line in front of our block that names the hostname, or sets a proxy for it: ssh would take that first. */
export function earlierMention(text: string, hostname: string): number | undefined {
  const lines = linesOf(text)
  const block = lines.findIndex(line => line.trimEnd() === `# >>> postern ${hostname}`)
  let applies = true // what stands in front of the first Host is for all
  const at = lines.slice(0, block).findIndex(line => {
    const [keyword = '', ...rest] = line
      .trim()
      .toLowerCase()
      .split(/[\s=]+/)
    const words = rest.map(word => word.replace(/^"|"$/g, ''))
    if (keyword === 'host') applies = isFor(hostname, words)
    if (keyword === 'match') applies = words[0] === 'all' // of any other, who can say
    return applies && (/^proxy(command|jump)$/.test(keyword) || (keyword === 'host' && words.includes(hostname)))
  })
  return at < 0 ? undefined : at + 1
}

/** As ssh reads the patterns of a `Host` line. */
function isFor(hostname: string, patterns: readonly string[]): boolean {
  const matches = (pattern: string) =>
    new RegExp(
      `^${pattern
        .replace(/[^\w*?]/g, '\\$&')
        .replaceAll('*', '.*')
        .replaceAll('?', '.')}$`,
    ).test(hostname)
  const refused = patterns.some(pattern => pattern.startsWith('!') && matches(pattern.slice(1)))
  return !refused && patterns.some(matches)
}

/** A unified diff of two texts that differ in one place; empty when they are the same. */
export function lineDiff(before: string, after: string, file: string): string {
  if (before === after) return ''
  const [old, now] = [linesOf(before), linesOf(after)]
  let head = 0
  while (head < old.length && head < now.length && old[head] === now[head]) head++
  let tail = 0
  while (tail < Math.min(old.length, now.length) - head && old.at(-1 - tail) === now.at(-1 - tail)) tail++
  const start = Math.max(0, head - CONTEXT)
  const rest = Math.max(0, tail - CONTEXT)
  const range = (lines: readonly string[]) => {
    const count = lines.length - rest - start
    return `${count === 0 ? 0 : start + 1},${count}`
  }
  const shown = [
    ...old.slice(start, head).map(line => ` ${line}`),
    ...old.slice(head, old.length - tail).map(line => `-${line}`),
    ...now.slice(head, now.length - tail).map(line => `+${line}`),
    ...old.slice(old.length - tail, old.length - rest).map(line => ` ${line}`),
  ]
  const body = shown.map(line => (line.endsWith('\n') ? line : `${line}\n\\ No newline at end of file\n`)).join('')
  return `--- ${file}\n+++ ${file}\n@@ -${range(old)} +${range(now)} @@\n${body}`
}

/** With their line ends. */
function linesOf(text: string): string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? []
}

function placesOf(lines: readonly string[], wanted: (line: string) => boolean): number[] {
  return lines.flatMap((line, at) => (wanted(line.trimEnd()) ? [at] : []))
}
