import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Whether the program is there; tests that want it are skipped, by name, where it is not. */
export const noOpenssl = !(process.env.POSTERN_PEERS ?? '').split(' ').includes('openssl')

/** A certificate and its key, in files and as text. */
export interface InFiles {
  readonly certFile: string
  readonly keyFile: string
  readonly cert: string
  readonly key: string
}

export interface Wanted {
  readonly subject?: string
  /** Lines of an OpenSSL extension section; `[…]` sections may follow. Default: a client's leaf. None: X.509 version 1. */
  readonly extensions?: string
  readonly keyType?: 'P-256' | 'P-384' | 'ed25519' | 'rsa'
  /** Milliseconds since the epoch. */
  readonly notBefore?: number
  readonly notAfter?: number
}

export const LEAF = 'basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n'
export const CA = 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n'
const DAY = 86_400_000

/** Who signs certificates with the `openssl` of this machine, whatever stands in them. */
export class OpensslCa implements InFiles {
  readonly certFile: string
  readonly keyFile: string
  readonly #folder: string
  #count = 0

  /** @param made its own certificate and key; whether it may sign is nothing that is looked at here */
  constructor(folder: string, made: Pick<InFiles, 'certFile' | 'keyFile'>) {
    this.#folder = folder
    this.certFile = made.certFile
    this.keyFile = made.keyFile
    mkdirSync(folder, { recursive: true })
    writeFileSync(this.#at('index.txt'), '')
    writeFileSync(this.#at('crlnumber'), '1000\n')
    const names = '[names]\ncommonName=optional\norganizationName=optional\n'
    const own = [`database=${this.#at('index.txt')}`, `new_certs_dir=${folder}`, `crlnumber=${this.#at('crlnumber')}`]
    const always = ['rand_serial=yes', 'unique_subject=no', 'default_md=sha256', 'policy=names', 'default_days=2']
    writeFileSync(this.#at('ca.cnf'), `[ca]\ndefault_ca=own\n[own]\n${[...own, ...always].join('\n')}\n${names}`)
  }

  /** One that signed itself. */
  static root(
    folder: string,
    subject = '/CN=Staff CA',
    extensions = CA,
    keyType: Wanted['keyType'] = 'P-256',
  ): OpensslCa {
    mkdirSync(folder, { recursive: true })
    const [keyFile, certFile] = [join(folder, 'root.key'), join(folder, 'root.pem')]
    makeKey(keyFile, keyType)
    writeFileSync(join(folder, 'root.ext'), `[own]\n${extensions}\n[req]\ndistinguished_name=dn\n[dn]\n`)
    const how = ['-config', join(folder, 'root.ext'), '-extensions', 'own', '-days', '20']
    openssl('req', '-x509', '-new', '-key', keyFile, '-subj', subject, ...how, '-out', certFile)
    return new OpensslCa(folder, { certFile, keyFile })
  }

  get cert(): string {
    return readFileSync(this.certFile, 'utf8')
  }

  get key(): string {
    return readFileSync(this.keyFile, 'utf8')
  }

  issue({ subject = '/CN=Ann', extensions = LEAF, keyType = 'P-256', ...times }: Wanted = {}): InFiles {
    const name = `leaf${++this.#count}`
    const [keyFile, certFile, csr] = [this.#at(`${name}.key`), this.#at(`${name}.pem`), this.#at(`${name}.csr`)]
    makeKey(keyFile, keyType)
    openssl('req', '-new', '-key', keyFile, '-subj', subject, '-out', csr)
    const { notBefore = Date.now() - DAY, notAfter = Date.now() + DAY } = times
    writeFileSync(this.#at(`${name}.ext`), extensions)
    const signer = ['-config', this.#at('ca.cnf'), '-cert', this.certFile, '-keyfile', this.keyFile]
    const span = ['-startdate', timeOf(notBefore), '-enddate', timeOf(notAfter)]
    const how = extensions === '' ? [] : ['-extfile', this.#at(`${name}.ext`)]
    openssl('ca', '-batch', '-notext', ...signer, ...span, ...how, '-in', csr, '-out', certFile)
    return { certFile, keyFile, cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') }
  }

  /** One below it: what it signs is sent with its own certificate. */
  below(subject: string, extensions = CA): OpensslCa {
    const made = this.issue({ subject, extensions })
    return new OpensslCa(join(this.#folder, `below${this.#count}`), made)
  }

  /** A list of what it revoked, PEM, with one more. */
  revoke(one: InFiles): string {
    const own = ['-config', this.#at('ca.cnf'), '-cert', this.certFile, '-keyfile', this.keyFile]
    openssl('ca', ...own, '-revoke', one.certFile)
    openssl('ca', ...own, '-gencrl', '-crldays', '1', '-out', this.#at('crl.pem'))
    return readFileSync(this.#at('crl.pem'), 'utf8')
  }

  #at(name: string): string {
    return join(this.#folder, name)
  }
}

function makeKey(file: string, type: Wanted['keyType'] = 'P-256'): void {
  if (type === 'rsa') openssl('genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048', '-out', file)
  else if (type === 'ed25519') openssl('genpkey', '-algorithm', 'ed25519', '-out', file)
  else openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', `ec_paramgen_curve:${type}`, '-out', file)
  chmodSync(file, 0o600)
}

/** GeneralizedTime (RFC 5280 §4.1.2.5.2). */
function timeOf(at: number): string {
  return `${new Date(at).toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`
}

/** @throws Error with what it said */
export function openssl(...args: readonly string[]): string {
  return execFileSync('openssl', args, { stdio: 'pipe', encoding: 'utf8' })
}
