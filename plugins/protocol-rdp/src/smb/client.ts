import { definePlugin, type Protocol } from '@postern/interface'
import { serveLocal } from '@postern/pump'
import { type Place, portOf } from '../listening.ts'

/** A local port, and how this system’s own client is brought to it. */
export default definePlugin({
  kind: 'protocol',
  side: 'client',
  name: 'smb',
  options: {},
  create: (): Protocol => ({
    async connect(local, call) {
      call.log.info(hintOf(portOf(local, 'smb')))
      await serveLocal(local, call)
    },
  }),
})

/** How the shares at a port are reached; none of these is the shell’s to read. */
export function hintOf({ host, port }: Place, platform: NodeJS.Platform = process.platform): string {
  if (platform === 'win32') {
    return port === 445
      ? `Its shares are at \\\\${host}\\SHARE`
      : `Its shares: net use Z: \\\\${host}\\SHARE /TCPPORT:${port} (Windows 11 24H2, Server 2025 and later)`
  }
  if (platform === 'darwin') return `Its shares: Finder, Go, Connect to Server: smb://${host}:${port}/SHARE`
  const address = host.replace(/^\[|\]$/g, '')
  return `Its shares: smbclient -p ${port} //${address}/SHARE, or mount -t cifs -o port=${port},username=USER //${address}/SHARE DIR`
}
