// TLS hellos, made by hand: as clients send them, and as nobody would.

export interface Wanted {
  /** Names in the server name extension, in order; none: no such extension. */
  readonly names?: readonly string[]
  readonly alpn?: readonly string[]
  /** More extensions, before those: type and body. */
  readonly extensions?: readonly (readonly [number, Uint8Array])[]
  /** None at all, as TLS 1.2 knows hellos. */
  readonly bare?: boolean
  readonly sessionId?: number
}

const bytes = (...parts: (number | Uint8Array)[]): Buffer =>
  Buffer.concat(parts.map(part => (typeof part === 'number' ? Buffer.from([part]) : part)))

/** With its length before it, in so many bytes. */
export function vector(size: number, body: Uint8Array): Buffer {
  const length = Buffer.alloc(size)
  length.writeUIntBE(body.length, 0, size)
  return bytes(length, body)
}

export function extension(type: number, body: Uint8Array): Buffer {
  return bytes(type >> 8, type & 255, vector(2, body))
}

export function namesExtension(names: readonly string[]): Buffer {
  return extension(0, vector(2, bytes(...names.map(name => bytes(0, vector(2, Buffer.from(name, 'latin1')))))))
}

/** A ClientHello, without a record around it. */
export function helloMessage({ names = [], alpn = [], extensions = [], bare = false, sessionId = 32 }: Wanted): Buffer {
  const all = bytes(
    ...extensions.map(([type, body]) => extension(type, body)),
    ...(names.length > 0 ? [namesExtension(names)] : []),
    ...(alpn.length > 0 ? [extension(16, vector(2, bytes(...alpn.map(name => vector(1, Buffer.from(name))))))] : []),
  )
  const body = bytes(
    3,
    3,
    Buffer.alloc(32, 7),
    vector(1, Buffer.alloc(sessionId, 9)),
    vector(2, Buffer.from('130113021303c02bc02f', 'hex')),
    vector(1, Buffer.from([0])),
    ...(bare ? [] : [vector(2, all)]),
  )
  return bytes(1, vector(3, body))
}

/** In TLS records of so many bytes each. */
export function records(message: Uint8Array, size = 16_384): Buffer {
  const parts: Buffer[] = []
  for (let at = 0; at < message.length; at += size)
    parts.push(bytes(22, 3, 1, vector(2, message.subarray(at, at + size))))
  return Buffer.concat(parts)
}

/** What is in the records, without their heads. */
export function unrecorded(sent: Uint8Array): Buffer {
  const parts: Uint8Array[] = []
  for (let at = 0; at + 5 <= sent.length; ) {
    const length = ((sent[at + 3] ?? 0) << 8) | (sent[at + 4] ?? 0)
    parts.push(sent.subarray(at + 5, at + 5 + length))
    at += 5 + length
  }
  return Buffer.concat(parts)
}

/** Mulberry32: the same numbers for the same seed. */
export function generator(seed: number): (below: number) => number {
  let state = seed
  return below => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296) * below)
  }
}

const LABEL = 'abcdefghijklmnopqrstuvwxyz0123456789'

/** A hello such as there might be, and the name in it. */
export function anyHello(random: (below: number) => number): {
  message: Buffer
  name: string | undefined
  alpn: string[]
} {
  const label = () => Array.from({ length: 1 + random(20) }, () => LABEL[random(LABEL.length)]).join('')
  const name = random(4) === 0 ? undefined : Array.from({ length: 1 + random(4) }, label).join('.')
  const spelled = name !== undefined && random(2) === 0 ? name.toUpperCase() : name
  const alpn = ['h2', 'http/1.1', 'postern-certificate'].filter(() => random(2) === 0)
  const grease = 0x0a0a + random(16) * 0x1010
  const extensions = Array.from(
    { length: random(6) },
    () =>
      [
        [grease, 10, 13, 43, 51, 41][random(6)] ?? 65_281,
        Buffer.alloc(random(20) === 0 ? random(2000) : random(40), random(256)),
      ] as const,
  )
  const message = helloMessage({
    ...(spelled === undefined ? {} : { names: [spelled] }),
    alpn,
    extensions,
    sessionId: random(33),
  })
  return { message, name, alpn }
}

/** The bytes with some changed, taken out, put in or cut off. */
export function mutated(sent: Uint8Array, random: (below: number) => number): Buffer {
  let made: Buffer = Buffer.from(sent)
  for (let times = 1 + random(4); times > 0; times -= 1) {
    const at = random(made.length + 1)
    const kind = random(6)
    if (kind === 0) made = made.subarray(0, at)
    else if (kind === 1) made = bytes(made.subarray(0, at), random(256), made.subarray(at))
    else if (kind === 2) made = bytes(made.subarray(0, at), made.subarray(at + 1 + random(8)))
    else if (kind === 3) made = bytes(made.subarray(0, at), made.subarray(random(made.length + 1)))
    else if (at < made.length) made[at] = kind === 4 ? random(256) : ([0, 1, 127, 128, 255][random(5)] ?? 0)
  }
  return made
}
