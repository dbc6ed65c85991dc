// The client side: runs in `postern` and in `posternd`, and dials the edge.
import { definePlugin } from '@postern/interface'

export default definePlugin({
  kind: 'transport',
  side: 'client',
  name: 'my-plugin',
  options: {},
  create: async () => {
    // Only who dials pays for node:http.
    const { dial } = await import('./dial.js')
    return { dial }
  },
})
