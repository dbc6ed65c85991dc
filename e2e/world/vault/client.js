import { definePlugin } from '@postern/interface'

/** A third party’s way to a credential: id and secret from one lease. */
export default definePlugin({
  kind: 'auth',
  side: 'client',
  name: 'vault',
  options: { lease: { type: 'secret', summary: 'the lease, as the vault writes it', required: true } },
  create: ({ lease }) => {
    const { id, secret } = JSON.parse(lease)
    return { authenticate: async () => ({ headers: { 'postern-client-id': id, 'postern-client-secret': secret } }) }
  },
})
