import { readFileSync, writeFileSync } from 'node:fs'
import { crc32, deflateSync } from 'node:zlib'

/** What an X server shows: 24 bits a pixel. */
export class Picture {
  readonly width: number
  readonly height: number
  readonly #pixels: Uint32Array
  readonly #stride: number

  constructor(width: number, height: number, pixels: Uint32Array, stride: number) {
    this.width = width
    this.height = height
    this.#pixels = pixels
    this.#stride = stride
  }

  /** 0xRRGGBB */
  at(x: number, y: number): number {
    return (this.#pixels[y * this.#stride + x] ?? 0) & 0xffffff
  }

  /** The box around every pixel of a colour, or undefined where there is none. */
  boxOf(colour: number): { x: number; y: number; width: number; height: number } | undefined {
    let [left, top, right, bottom] = [this.width, this.height, -1, -1]
    for (let y = 0; y < this.height; y += 1)
      for (let x = 0; x < this.width; x += 1) {
        if (this.at(x, y) !== colour) continue
        left = Math.min(left, x)
        right = Math.max(right, x)
        top = Math.min(top, y)
        bottom = Math.max(bottom, y)
      }
    return right < 0 ? undefined : { x: left, y: top, width: right - left + 1, height: bottom - top + 1 }
  }

  /** Pixels that differ from another picture’s, from the upper left corner of both; those that only one has count. */
  differences(other: Picture): number {
    const [width, height] = [Math.min(this.width, other.width), Math.min(this.height, other.height)]
    let count = this.width * this.height + other.width * other.height - 2 * width * height
    for (let y = 0; y < height; y += 1)
      for (let x = 0; x < width; x += 1) if (this.at(x, y) !== other.at(x, y)) count += 1
    return count
  }

  /** For people to look at. */
  writePng(file: string): void {
    const rows = Buffer.alloc(this.height * (1 + this.width * 3))
    for (let y = 0; y < this.height; y += 1)
      for (let x = 0; x < this.width; x += 1) rows.writeUIntBE(this.at(x, y), y * (1 + this.width * 3) + 1 + x * 3, 3)
    const head = Buffer.alloc(13)
    head.writeUInt32BE(this.width)
    head.writeUInt32BE(this.height, 4)
    head.set([8, 2], 8)
    const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
    const chunks = [chunk('IHDR', head), chunk('IDAT', deflateSync(rows)), chunk('IEND', Buffer.alloc(0))]
    writeFileSync(file, Buffer.concat([signature, ...chunks]))
  }
}

function chunk(name: string, body: Buffer): Buffer {
  const named = Buffer.concat([Buffer.from(name, 'latin1'), body])
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)]
  length.writeUInt32BE(body.length)
  sum.writeUInt32BE(crc32(named))
  return Buffer.concat([length, named, sum])
}

/** Reads what Xvfb keeps in `-fbdir`: the format of xwd, version 7 (XWDFile.h), of a screen of 24 bits. */
export function readScreen(file: string): Picture {
  const bytes = readFileSync(file)
  const [head = 0, version] = [bytes.readUInt32BE(0), bytes.readUInt32BE(4)]
  const [width, height] = [bytes.readUInt32BE(16), bytes.readUInt32BE(20)]
  const [bits, stride, colours] = [bytes.readUInt32BE(44), bytes.readUInt32BE(48), bytes.readUInt32BE(76)]
  if (version !== 7 || bits !== 32) throw new Error(`a screen of version ${version} and ${bits} bits`)
  const words = new Uint8Array(bytes.subarray(head + colours * 12)) // at an address that numbers may begin at
  return new Picture(width, height, new Uint32Array(words.buffer, 0, (stride / 4) * height), stride / 4)
}
