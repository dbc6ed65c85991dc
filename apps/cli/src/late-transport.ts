import type { NamedTransport } from '@postern/client'
import type { Call, Transport } from '@postern/interface'
import type { Wanted } from '@postern/program'
import type { Registry } from '@postern/registry'

type WantedTransport = Wanted<'transport', 'client'>

/** Transports behind the first that have no options, so that nothing on the command line is for them: most runs never load them. */
export function areLate(transports: readonly WantedTransport[], registry: Registry): ReadonlySet<WantedTransport> {
  const [, ...others] = transports
  return new Set(others.filter(({ name }) => !registry.find('transport', name)?.entry.options?.client?.length))
}

/** One that is made when it is dialled by for the first time. What goes wrong then is told to each who dials by it. */
export function lateTransport(name: string, make: (call: Call) => Promise<Transport>): NamedTransport {
  let made: Promise<Transport> | undefined
  return {
    name,
    transport: {
      dial: async (request, call) => {
        made ??= make(call)
        return (await made).dial(request, call)
      },
    },
  }
}
