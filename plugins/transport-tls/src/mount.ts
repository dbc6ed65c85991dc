import type { Call, Door, Incoming } from '@postern/interface'

/** Claims at the door until the call is aborted. */
export async function mount(_door: Door, _accept: (incoming: Incoming) => Promise<void>, call: Call): Promise<void> {
  call.signal.throwIfAborted()
}
