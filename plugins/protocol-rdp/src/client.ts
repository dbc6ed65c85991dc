import { definePlugin, type Logger, type Protocol } from '@postern/interface'
import { serveLocal } from '@postern/pump'
import { portOf } from './listening.ts'
import { writeRdpFile } from './rdp-file.ts'
import { openFirst, systemClients } from './system-client.ts'

/** A local port, an .rdp file that leads to it, and the system’s own client opened with that. */
export default definePlugin({
  kind: 'protocol',
  side: 'client',
  name: 'rdp',
  options: {
    open: {
      type: 'boolean',
      default: true,
      summary: 'open this system’s client, at a terminal; with --no-open it is yours to open',
    },
    rdpFile: {
      type: 'path',
      summary: 'write the .rdp file here, and leave it there (default: a temporary one)',
    },
  },
  create: ({ open, rdpFile }): Protocol => ({
    async connect(local, call) {
      call.signal.throwIfAborted()
      const place = portOf(local, 'rdp')
      using file = writeRdpFile(local.app.hostname, place, rdpFile)
      const gone = new AbortController()
      const signal = AbortSignal.any([call.signal, gone.signal])
      const at = `${place.host}:${place.port}`
      if (open && local.attended) void openClient(file.path, at, call.log, signal)
      else call.log.info(byHand(file.path, at))
      try {
        await serveLocal(local, call)
      } finally {
        gone.abort()
      }
    },
  }),
})

/** Never rejects: whoever has no such program has another, or connects from somewhere else. */
async function openClient(file: string, at: string, log: Logger, signal: AbortSignal): Promise<void> {
  const opened = await openFirst(systemClients(file, process.env, process.platform), process.env, signal).catch(
    () => {},
  )
  if (signal.aborted) opened?.child.kill()
  else if (!opened) log.info(byHand(file, at))
  if (!opened) return
  const { client, child } = opened
  log.info(`opened ${client.program}`, { file })
  const end = (): void => void child.kill()
  signal.addEventListener('abort', end)
  child.once('exit', status => {
    signal.removeEventListener('abort', end)
    if (signal.aborted || (!client.stays && status === 0)) return
    log.info(`${client.program} has ended; ${at} is still there`, { status: status ?? undefined, file })
  })
}

function byHand(file: string, at: string): string {
  return `open ${file} with your RDP client, or connect it to ${at}`
}
