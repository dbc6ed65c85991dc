/**
 * One option of a plugin, declared once: it becomes a flag (`--name`), an environment variable, a key of the config file, a
 * line of help, and (for `secret`) `--name-file`, stdin and redaction.
 */
export interface OptionSpec {
  /** `duration`: `30s`, `5m`, `2h`, `7d`, given to the plugin in milliseconds. `path`: made absolute against where it was written. */
  readonly type: 'string' | 'secret' | 'path' | 'url' | 'number' | 'boolean' | 'duration'
  /** Half a sentence for the help text. */
  readonly summary: string
  readonly required?: true
  readonly default?: string | number | boolean
  /** Names of environment variables that may carry it, the first that is set wins. */
  readonly env?: readonly string[]
  /** Other names of the flag, for people who come from another tool. */
  readonly aliases?: readonly string[]
}

/** Names in camelCase: `caFile` is the flag `--ca-file`. */
export type OptionSpecs = Readonly<Record<string, OptionSpec>>

type Value<S extends OptionSpec> = S['type'] extends 'number' | 'duration'
  ? number
  : S['type'] extends 'boolean'
    ? boolean
    : S['type'] extends 'url'
      ? URL
      : string

/** What `create` is handed: an option that is required or has a default is there, any other may be undefined. */
export type Options<O extends OptionSpecs> = {
  readonly [N in keyof O]: O[N] extends { required: true } | { default: string | number | boolean }
    ? Value<O[N]>
    : Value<O[N]> | undefined
}
