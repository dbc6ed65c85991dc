// Run by client-processes.test.ts: one command that wants a token, with the secrets of a folder and a team’s server at a port.
// argv: the folder, the port, and `hangs` where the person never comes back from the browser.
import { fileSecrets } from '@postern/program'
import plugin from '../src/client.ts'
import { access, OPTIONS, tokenOf } from './visitor.ts'

const [folder = '', port = '', hangs] = process.argv.slice(2)
const at = (path: string) => `http://127.0.0.1:${port}${path}`
const log = { debug() {}, info() {}, warn() {}, error() {} }

const provider = await plugin.create(OPTIONS, {
  secrets: fileSecrets(folder),
  ui: {
    show: () => {},
    ask: async () => 'y',
    open: async url => {
      console.log('opened')
      if (hangs === undefined) await fetch(await (await fetch(at(`/approve?${url}`))).text())
      return true
    },
  },
  fetch: (url, init) => fetch(at(url.pathname), { ...init, headers: { ...init.headers, 'x-origin': url.origin } }),
})
console.log(tokenOf(await provider.authenticate(access, { signal: AbortSignal.timeout(40_000), log })))
