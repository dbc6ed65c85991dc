import { PosternError } from '@postern/interface'
import { dashed, type Flag, flagsOf, type HostOptionSpecs } from './spec.ts'

/** One use of a flag whose spec is known. */
export interface Given {
  readonly option: string
  /** As it was typed, with its hyphens, for messages. */
  readonly flag: string
  readonly form: Flag['form']
  /** Absent for a boolean without `=`. */
  readonly value?: string
}

/** One use of a flag that nobody has claimed yet: whether the word behind it is its value is not known either. */
export interface Pending {
  /** Without hyphens and without `=value`. */
  readonly name: string
  /** What stood behind `=`, or stuck to a one-letter flag. */
  readonly inline?: string
  /** The word behind it, which belongs to the flag if its spec wants a value. */
  readonly next?: Word
  /** Where it stood on the line. */
  readonly at: number
}

export interface Word {
  readonly text: string
  readonly at: number
}

/** A command line after the first phase. */
export interface CommandLine {
  readonly given: readonly Given[]
  readonly pending: readonly Pending[]
  /** Words that are certainly no flag's value. {@link resolvePending} gives the final list. */
  readonly words: readonly Word[]
}

/**
 * Phase one: reads the program's own flags and keeps what it does not know for the plugins that those flags choose.
 *
 * `--flag value`, `--flag=value`, `-L value`, `-Lvalue`, `-vq` (booleans), `--no-flag` (booleans), `--` ends the flags.
 * A value that begins with a hyphen is written with `=` (except `-` alone and negative numbers).
 *
 * @throws PosternError OPTION_INVALID for a flag of ours without the value it needs, or with one it cannot take
 */
export function parseCommandLine(argv: readonly string[], specs: HostOptionSpecs): CommandLine {
  const flags = flagsOf(specs)
  const given: Given[] = []
  const pending: Pending[] = []
  const words: Word[] = []
  const valueAt = (at: number): string | undefined => {
    const text = argv[at]
    return text !== undefined && (isWord(text) || (/^-\.?\d/.test(text) && !flags.has(text[1]!))) ? text : undefined
  }
  let at = 0
  while (at < argv.length) {
    const text = argv[at]!
    if (text === '--') {
      for (const [i, word] of argv.slice(at + 1).entries()) words.push({ text: word, at: at + 1 + i })
      break
    }
    if (isWord(text)) {
      words.push({ text, at: at++ })
      continue
    }
    let used = 0
    for (const { name, inline } of text.startsWith('--') ? [long(text)] : shorts(text, flags)) {
      const flag = flags.get(name)
      const next = inline === undefined ? valueAt(at + 1) : undefined
      if (!flag) {
        pending.push({
          name,
          at,
          ...(inline !== undefined && { inline }),
          ...(next !== undefined && { next: { text: next, at: at + 1 } }),
        })
        if (next !== undefined) used = 1
        continue
      }
      const one = useFlag(flag, name, inline, next)
      given.push(one.given)
      if (one.usedNext) used = 1
    }
    at += 1 + used
  }
  return { given, pending, words }
}

/**
 * What a flag makes of the text stuck to it and of the word behind it.
 *
 * @throws PosternError OPTION_INVALID; the message never repeats the value, which may be a secret
 */
export function useFlag(
  flag: Flag,
  name: string,
  inline: string | undefined,
  next: string | undefined,
): { readonly given: Given; readonly usedNext: boolean } {
  const typed = dashed(name)
  const base = { option: flag.option, flag: typed, form: flag.form }
  if (flag.form === 'off') {
    if (inline !== undefined) throw new PosternError('OPTION_INVALID', `${typed} takes no value`)
    return { given: base, usedNext: false }
  }
  const isSwitch = flag.spec.type === 'boolean'
  const value = inline ?? (isSwitch ? undefined : next)
  if (value !== undefined) return { given: { ...base, value }, usedNext: inline === undefined }
  if (isSwitch) return { given: base, usedNext: false }
  throw new PosternError('OPTION_INVALID', `${typed} needs a value`, {
    next: `Write ${typed} VALUE, or ${typed}=VALUE where the value begins with a hyphen.`,
  })
}

function isWord(text: string): boolean {
  return text === '-' || !text.startsWith('-')
}

function long(text: string): { name: string; inline?: string } {
  const equals = text.indexOf('=')
  return equals < 0 ? { name: text.slice(2) } : { name: text.slice(2, equals), inline: text.slice(equals + 1) }
}

/** `-vL5432:db`: booleans of ours in a row, then at most one flag that takes the rest as its value. */
function* shorts(text: string, flags: ReadonlyMap<string, Flag>): Generator<{ name: string; inline?: string }> {
  for (let i = 1; i < text.length; i++) {
    const name = text[i]!
    const rest = text.slice(i + 1).replace(/^=/, '')
    const isSwitch = flags.get(name)?.spec.type === 'boolean' && text[i + 1] !== '='
    if (isSwitch || rest === '') yield { name }
    else return yield { name, inline: rest }
  }
}
