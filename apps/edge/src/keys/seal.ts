import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { PosternError } from '@postern/interface'
import { ensurePrivateFolder, readPrivateFile, writePrivateFile } from '@postern/store'

const FOLDER = 'keys'
const FILE = 'seal.key'
const KEY_BYTES = 32
/** NIST SP 800-38D §8.2.2: random, 96 bits; far fewer than 2^32 are ever made under one key. */
const NONCE_BYTES = 12
const TAG_BYTES = 16
/** 32 bytes in base64url; padding and the other alphabet are read as well. */
const KEY_FORM = /^[A-Za-z0-9_+/-]{43}=?$/
const FORM = /^v1\.([A-Za-z0-9_-]{16})\.([A-Za-z0-9_-]+)$/

/**
 * Encrypts what the database keeps and must be read again (signing keys, secrets of providers) with AES-256-GCM, under a key in
 * a file of its own: a copy of the database alone gives nothing.
 */
export class Seal {
  readonly #key: Buffer

  private constructor(key: Buffer) {
    this.#key = key
  }

  /**
   * With a key that is given, else with that of `keys/seal.key` (0600) in the data folder, which is made where there is none.
   *
   * @param isNeeded whether something is sealed already: then a file that is missing is an error, and no new one is made
   * @param given 32 bytes in base64url, kept elsewhere: no file is read or made
   * @throws PosternError CONFIG_INVALID; FILE_UNSAFE, FILE_UNREADABLE
   */
  static async open(data: string, isNeeded: boolean, given?: string): Promise<Seal> {
    if (given !== undefined) return new Seal(keyOf(given, 'the seal key that was given'))
    const folder = join(data, FOLDER)
    const path = join(folder, FILE)
    await ensurePrivateFolder(folder)
    const kept = await readPrivateFile(path)
    if (kept === undefined && isNeeded)
      throw new PosternError('CONFIG_INVALID', `${path} is missing, so what the database keeps sealed cannot be read`, {
        next: 'Put the file back from where the data folder was copied from, or give the key with --seal-key-file.',
      })
    const text = kept ?? randomBytes(KEY_BYTES).toString('base64url')
    const key = keyOf(text, path)
    if (kept === undefined) await writePrivateFile(path, `${text}\n`)
    return new Seal(key)
  }

  /** @returns `v1.<nonce>.<ciphertext and tag>`, base64url; another one each time */
  seal(text: string): string {
    const nonce = randomBytes(NONCE_BYTES)
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce)
    const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()])
    return `v1.${nonce.toString('base64url')}.${sealed.toString('base64url')}`
  }

  /** @throws PosternError CONFIG_INVALID: not sealed with this key, or altered */
  open(sealed: string): string {
    const [, nonce = '', body = ''] = FORM.exec(sealed) ?? []
    const bytes = Buffer.from(body, 'base64url')
    try {
      const decipher = createDecipheriv('aes-256-gcm', this.#key, Buffer.from(nonce, 'base64url'), {
        authTagLength: TAG_BYTES,
      })
      decipher.setAuthTag(bytes.subarray(-TAG_BYTES))
      return decipher.update(bytes.subarray(0, -TAG_BYTES), undefined, 'utf8') + decipher.final('utf8')
    } catch {
      // Without the cause: it has nothing to say, and nobody needs to see what was tried.
      throw new PosternError('CONFIG_INVALID', 'what the database keeps sealed does not fit the seal key', {
        next: `Use the database and the key (${FOLDER}/${FILE}, or the one that is given) of the same edge.`,
      })
    }
  }
}

/** @throws PosternError CONFIG_INVALID; the text itself is not repeated */
function keyOf(text: string, where: string): Buffer {
  const key = Buffer.from(text.trim(), 'base64url')
  if (KEY_FORM.test(text.trim()) && key.length === KEY_BYTES) return key
  throw new PosternError('CONFIG_INVALID', `${where} is no key of ${KEY_BYTES} bytes in base64url`, {
    next: 'Use the one that the database was sealed with.',
  })
}
