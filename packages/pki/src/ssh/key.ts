import { createPrivateKey, generateKeyPair, type KeyObject, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import { readSshPublicKey, showSshPublicKey } from './public-key.ts'
import { malformed, SshReader, sshString, uint32 } from './wire.ts'

const TYPE = 'ssh-ed25519'
const MAGIC = 'openssh-key-v1\0'
const [BEGIN, END] = ['-----BEGIN OPENSSH PRIVATE KEY-----', '-----END OPENSSH PRIVATE KEY-----']
const BLOCK = 8
const generate = promisify(generateKeyPair)

/** A new Ed25519 key to sign SSH certificates with, as PKCS#8 PEM. */
export async function createSshAuthority(): Promise<string> {
  const { privateKey } = await generate('ed25519')
  return privateKey.export({ format: 'pem', type: 'pkcs8' }) as string
}

/** @throws Error what is no private key */
export function readSshAuthority(pem: string): KeyObject {
  return createPrivateKey(pem)
}

/**
 * A new Ed25519 key of a user, as ssh reads it on every version (PROTOCOL.key of OpenSSH; not all of them know PKCS#8).
 *
 * @param comment printable ASCII
 */
export async function createSshKey(comment: string): Promise<string> {
  const { privateKey } = await generate('ed25519')
  const { x = '', d = '' } = privateKey.export({ format: 'jwk' })
  const [open, secret] = [Buffer.from(x, 'base64url'), Buffer.from(d, 'base64url')]
  const check = randomBytes(4)
  const pair = Buffer.concat([
    check,
    check,
    sshString(TYPE),
    sshString(open),
    sshString(Buffer.concat([secret, open])),
    sshString(comment),
  ])
  const padding = Array.from({ length: (BLOCK - (pair.length % BLOCK)) % BLOCK }, (_, at) => at + 1)
  const file = Buffer.concat([
    Buffer.from(MAGIC),
    sshString('none'), // no cipher
    sshString('none'), // no key derivation
    sshString(''),
    uint32(1),
    sshString(Buffer.concat([sshString(TYPE), sshString(open)])),
    sshString(Buffer.concat([pair, Buffer.from(padding)])),
  ])
  const lines = file.toString('base64').match(/.{1,70}/g) ?? []
  return [BEGIN, ...lines, END, ''].join('\n')
}

/**
 * The public key of a private key file of OpenSSH's form, which says it in clear text even under a passphrase.
 *
 * @returns the line of a `.pub` file, without a comment
 * @throws PosternError BAD_USAGE
 */
export function publicKeyOf(file: string): string {
  const lines = file.trim().split('\n')
  if (lines[0] !== BEGIN || lines.at(-1) !== END) throw malformed('has no private key that OpenSSH wrote')
  const reader = new SshReader(Buffer.from(lines.slice(1, -1).join(''), 'base64'))
  if (reader.take(MAGIC.length).toString('latin1') !== MAGIC) throw malformed('has no private key that OpenSSH wrote')
  for (const _of of ['cipher', 'key derivation', 'its options']) reader.string()
  reader.uint32()
  const blob = reader.string()
  const type = new SshReader(blob).text()
  return showSshPublicKey(readSshPublicKey(showSshPublicKey({ type, blob })))
}
