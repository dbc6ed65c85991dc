import { type ClientHost, type Logger, PosternError, type Secrets, type Ui } from '@postern/interface'
import type { EdgeAt } from './edge-fetch.ts'

/** What a program lends the plugins it uses, where it has something better than nothing. */
export interface Lent {
  /** Where sign-ins are kept. Default: in memory, for as long as the client lives. */
  readonly secrets?: Secrets
  /** Who is asked and shown things. Default: nobody; what needs a person is LOGIN_REQUIRED at once. */
  readonly ui?: Ui
}

/** What the plugins of one application get. @param at its edge, where they fetch from */
export function lendingTo(at: EdgeAt, { secrets, ui }: Required<Lent>): ClientHost {
  let fetching: Promise<ClientHost['fetch']> | undefined
  return {
    secrets,
    ui,
    fetch: async (input, init) => {
      fetching ??= import('./edge-fetch.ts').then(({ edgeFetch }) => edgeFetch(at))
      return (await fetching)(input, init)
    },
  }
}

/** Gone with whoever has it. */
export function memorySecrets(): Secrets {
  const kept = new Map<string, string>()
  const turns = new Map<string, Promise<unknown>>()
  return {
    get: async key => kept.get(key),
    set: async (key, value) => void kept.set(key, value),
    delete: async key => void kept.delete(key),
    exclusively(key, work, call) {
      const before = turns.get(key) ?? Promise.resolve()
      const mine = before.then(() => {
        call.signal.throwIfAborted()
        return work()
      })
      const over = mine.catch(() => {}).finally(() => turns.get(key) === over && turns.delete(key))
      turns.set(key, over)
      return mine
    },
  }
}

/** Somebody who is not there. */
export function nobody(log: Logger): Ui {
  return {
    interactive: false,
    show: line => log.info(line),
    open: async () => false,
    ask: async question => {
      throw new PosternError('LOGIN_REQUIRED', `nobody is there to be asked: ${question}`, {
        speaker: 'client',
        next: 'Give the client a credential that needs nobody, or a ui of your program’s own.',
      })
    },
  }
}
