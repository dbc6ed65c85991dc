import { type AuthProvider, definePlugin, PosternError } from '@postern/interface'
import { CertificateFiles } from './files.ts'

/** Shows a client certificate and proves its key. */
export default definePlugin({
  kind: 'auth',
  side: 'client',
  name: 'mtls',
  options: {
    cert: { type: 'path', summary: 'PEM file of the client certificate, then of those between it and its CA' },
    key: { type: 'path', summary: 'PEM file of its private key (default: the file of --cert has it too)' },
    pfx: { type: 'path', summary: 'PKCS#12 file (.p12, .pfx) of both, instead' },
    passphrase: { type: 'secret', summary: 'what the key or the PKCS#12 file is encrypted with' },
  },
  create: ({ cert, key, pfx, passphrase }, { ui }): AuthProvider => {
    if (pfx !== undefined && (cert ?? key) !== undefined)
      throw new PosternError('OPTION_CONFLICT', '--pfx has certificate and key; --cert and --key are the other way')
    if (pfx === undefined && cert === undefined)
      throw new PosternError('OPTION_MISSING', 'which certificate? --auth mtls needs --cert and --key, or --pfx')
    const places = pfx === undefined ? { cert: cert ?? '', key: key ?? cert ?? '' } : { pfx }
    const files = new CertificateFiles(places, passphrase, ui)
    return {
      async authenticate({ refused }, call) {
        call.signal.throwIfAborted()
        const { tls, leaf } = await files.read(call)
        // Asked again, the same certificate would get the same answer; one that was renewed meanwhile might not.
        if (refused?.credential.tls?.cert === tls.cert)
          throw new PosternError('AUTH_REJECTED', `the edge did not accept the client certificate ${files.name}`, {
            refusal: { status: refused.status, headers: refused.headers },
          })
        const expiresAt = leaf.validToDate.getTime()
        if (expiresAt <= Date.now())
          call.log.warn('the client certificate has expired', { file: files.name, at: leaf.validTo })
        return { tls, expiresAt }
      },
    }
  },
})
