import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import { type Call, type Credential, PosternError, type Ui } from '@postern/interface'
import { LARGEST_SECRET, readSecretBytes } from '@postern/options'

/** Absolute paths. `key` may be the same file as `cert`. */
export type Places = { readonly cert: string; readonly key: string } | { readonly pfx: string }

export interface Read {
  readonly tls: NonNullable<Credential['tls']>
  readonly leaf: X509Certificate
}

/** Milliseconds until a certificate and a key that do not belong together are read again: a renewal replaces one, then the other. */
const RENEWAL = 200

/** The certificate and its key, read each time: what a renewal puts there is used from the next connection on. */
export class CertificateFiles {
  readonly #places: Places
  readonly #passphrase: string | undefined
  readonly #ui: Ui
  /** What the bytes of the files were read as: decrypting takes a while, and asking a person longer. */
  #last: { readonly bytes: readonly Buffer[]; readonly read: Read } | undefined

  constructor(places: Places, passphrase: string | undefined, ui: Ui) {
    this.#places = places
    this.#passphrase = passphrase
    this.#ui = ui
  }

  /** The file that a person knows it by. */
  get name(): string {
    return 'pfx' in this.#places ? this.#places.pfx : this.#places.cert
  }

  /**
   * @throws PosternError FILE_UNREADABLE; FILE_UNSAFE: others may read the key; OPTION_INVALID: no certificate, no key, two that do
   *   not belong together, or another passphrase; OPTION_MISSING: there is a passphrase; `call.signal.reason`
   */
  async read(call: Call): Promise<Read> {
    const read = (await this.#once(call)) ?? (await pause(RENEWAL, undefined, call).then(() => this.#once(call)))
    if (read !== undefined) return read
    throw new PosternError('OPTION_INVALID', `--key: it is not the key of the first certificate in ${this.name}`)
  }

  /** @returns undefined where certificate and key do not belong together */
  async #once(call: Call): Promise<Read | undefined> {
    const bytes = await this.#bytes(call)
    const last = this.#last
    if (last !== undefined && bytes.every((one, at) => one.equals(last.bytes[at] ?? Buffer.of()))) return last.read
    const [first = Buffer.of(), second] = bytes
    const read = second === undefined ? await this.#readPfx(first, call) : await this.#readPem(first, second, call)
    if (read !== undefined) this.#last = { bytes, read }
    return read
  }

  async #bytes({ signal }: Call): Promise<readonly Buffer[]> {
    const places = this.#places
    const secret = async (path: string, flag: string) => bounded(await readSecretBytes(path, flag, signal), flag)
    if ('pfx' in places) return [await secret(places.pfx, '--pfx')]
    if (places.key === places.cert) {
      const both = await secret(places.cert, '--cert')
      return [both, both]
    }
    const cert = await readFile(places.cert, { signal }).catch((cause: NodeJS.ErrnoException) => {
      signal.throwIfAborted()
      throw new PosternError('FILE_UNREADABLE', `--cert: ${places.cert} cannot be read (${cause.code})`, { cause })
    })
    return [bounded(cert, '--cert'), await secret(places.key, '--key')]
  }

  async #readPem(certificates: Buffer, secret: Buffer, call: Call): Promise<Read | undefined> {
    const cert = certificates.toString('latin1').match(CERTIFICATE)?.join('\n') ?? ''
    const leaf = certificateOf(cert, this.name)
    const key = await this.#unlock(isEncrypted(secret), call, passphrase => {
      try {
        return createPrivateKey({ key: secret, ...(passphrase !== undefined && { passphrase }) })
      } catch {
        if (isEncrypted(secret)) return undefined
        throw new PosternError('OPTION_INVALID', `${this.#keyFlag}: no private key in PEM is in the file`)
      }
    })
    return leaf.checkPrivateKey(key) ? { tls: { cert, key: pemOf(key) }, leaf } : undefined
  }

  async #readPfx(bytes: Buffer, call: Call): Promise<Read> {
    const { readPkcs12 } = await import('@postern/pki')
    const open = (passphrase: string | undefined) =>
      readPkcs12(bytes, passphrase).catch(error => {
        if (PosternError.is(error) && error.code === 'AUTH_REJECTED') return undefined
        throw error
      })
    const opened = this.#passphrase === undefined ? await open(undefined) : undefined
    const { cert, key } = opened ?? (await this.#unlock(true, call, open))
    return { tls: { cert, key }, leaf: certificateOf(cert, this.name) }
  }

  /** Opens what may be encrypted. @param open gives undefined for a passphrase that is not the one */
  async #unlock<T>(
    isLocked: boolean,
    call: Call,
    open: (passphrase: string | undefined) => T | undefined | Promise<T | undefined>,
  ): Promise<T> {
    const passphrase = isLocked ? (this.#passphrase ?? (await this.#ask(call))) : undefined
    const opened = await open(passphrase)
    call.signal.throwIfAborted()
    if (opened !== undefined) return opened
    throw new PosternError('OPTION_INVALID', `--passphrase: it does not open ${this.#keyFile}`)
  }

  async #ask(call: Call): Promise<string> {
    if (this.#ui.interactive === false)
      throw new PosternError(
        'OPTION_MISSING',
        `${this.#keyFile} is encrypted, and nobody is there to be asked for the passphrase`,
        {
          next: 'Give --passphrase-file FILE, or POSTERN_MTLS_PASSPHRASE.',
        },
      )
    return this.#ui.ask(`Passphrase of ${this.#keyFile}`, { secret: true }, call)
  }

  get #keyFile(): string {
    return 'pfx' in this.#places ? this.#places.pfx : this.#places.key
  }

  get #keyFlag(): string {
    return 'pfx' in this.#places ? '--pfx' : this.#places.key === this.#places.cert ? '--cert' : '--key'
  }
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g

function certificateOf(pem: string, file: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (cause) {
    throw new PosternError('OPTION_INVALID', `--cert: no certificate in PEM is in ${file}`, { cause })
  }
}

/** RFC 5958, and as OpenSSL wrote keys of old (RFC 1421). */
function isEncrypted(pem: Buffer): boolean {
  return /-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m.test(pem.toString('latin1'))
}

function pemOf(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString()
}

function bounded(bytes: Buffer, flag: string): Buffer {
  if (bytes.length <= LARGEST_SECRET) return bytes
  throw new PosternError('OPTION_INVALID', `${flag} names more than 65,536 bytes, which is no certificate and no key`)
}
