/** First messages of RDP, as clients and servers of ours and of others send them. */

export function request(text: string, protocols?: number): Buffer {
  const asks = Buffer.alloc(protocols === undefined ? 0 : 8)
  if (protocols !== undefined) {
    asks.set([1, 0, 8, 0])
    asks.writeUInt32LE(protocols, 4)
  }
  return message(0xe0, Buffer.concat([Buffer.from(text, 'latin1'), asks]))
}

export function answer(type?: 2 | 3, value = 0): Buffer {
  const body = Buffer.alloc(type === undefined ? 0 : 8)
  if (type !== undefined) {
    body.set([type, 0, 8, 0])
    body.writeUInt32LE(value, 4)
  }
  return message(0xd0, body)
}

export function message(code: number, body: Buffer): Buffer {
  const head = Buffer.from([3, 0, 0, 0, 6 + body.length, code, 0, 0, 0, 0, 0])
  head.writeUInt16BE(11 + body.length, 2)
  return Buffer.concat([head, body])
}
