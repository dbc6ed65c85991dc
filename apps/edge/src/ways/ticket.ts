const LETTERS = 'abcdefghijklmnopqrstuvwxyz234567'

/** Bytes in base32 (RFC 4648 §6) of lower case without padding: 26 characters of 16 bytes. */
export function ticketOf(bytes: Uint8Array): string {
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
