import { randomBytes } from 'node:crypto'

const LETTERS = 'abcdefghijklmnopqrstuvwxyz234567'

/** What is shown once, by whom it was told to: 128 random bits in 26 letters and digits that have no case, as an SNI has none. */
export function createTicket(): string {
  return base32(randomBytes(16))
}

/** Bytes in base32 (RFC 4648 §6) of lower case without padding: 26 characters of 16 bytes. */
export function base32(bytes: Uint8Array): string {
  let text = ''
  let bits = 0
  let value = 0
  for (const byte of bytes) {
    value = ((value << 8) | byte) & 0xfff
    bits += 8
    for (; bits >= 5; bits -= 5) text += LETTERS[(value >> (bits - 5)) & 31]
  }
  return bits === 0 ? text : text + LETTERS[(value << (5 - bits)) & 31]
}
