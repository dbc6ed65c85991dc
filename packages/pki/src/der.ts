/**
 * Where things stand in DER. It only finds the pieces: what is in them is read by node:crypto or @peculiar/asn1-x509. Those
 * make an object of every element, which a revocation list of megabytes does not bear: seconds, and hundreds of megabytes.
 */
export interface Element {
  readonly tag: number
  /** Offsets: of the tag, of what is in it, and of what comes after it. */
  readonly start: number
  readonly content: number
  readonly end: number
}

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
} as const

/**
 * The one element that the bytes are.
 *
 * @throws RangeError when they are anything else, or more
 */
export function wholeElement(bytes: Uint8Array): Element {
  const element = elementAt(bytes, 0, bytes.length)
  if (element.end !== bytes.length) throw new RangeError('bytes after the end')
  return element
}

/**
 * The elements inside of an element.
 *
 * @throws RangeError when it is not made of whole ones
 */
export function elementsIn(bytes: Uint8Array, { content, end }: Element): Element[] {
  const found: Element[] = []
  for (let at = content; at < end; ) {
    const element = elementAt(bytes, at, end)
    found.push(element)
    at = element.end
  }
  return found
}

/** The element as it stands there, with its tag and length. */
export function rawOf(bytes: Uint8Array, element: Element): Uint8Array {
  return bytes.subarray(element.start, element.end)
}

/** What is inside of the element. */
export function contentOf(bytes: Uint8Array, element: Element): Uint8Array {
  return bytes.subarray(element.content, element.end)
}

/** X.690: tags of one byte, lengths that are definite and as short as they can be; 4 bytes of length are plenty. */
function elementAt(bytes: Uint8Array, start: number, limit: number): Element {
  const [tag, first] = [bytes[start], bytes[start + 1]]
  if (tag === undefined || first === undefined || start + 2 > limit) throw new RangeError('cut off')
  if ((tag & 0x1f) === 0x1f) throw new RangeError('a tag of several bytes')
  let [length, content] = [first, start + 2]
  if (first >= 0x80) {
    const size = first - 0x80
    if (size < 1 || size > 4) throw new RangeError('no definite length')
    length = 0
    for (const byte of bytes.subarray(content, content + size)) length = length * 256 + byte
    content += size
    if (length < 0x80 || (size > 1 && length < 256 ** (size - 1))) throw new RangeError('a length longer than need be')
  }
  if (content + length > limit) throw new RangeError('cut off')
  return { tag, start, content, end: content + length }
}
