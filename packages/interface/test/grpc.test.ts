import { describe, expect, it } from 'vitest'
import { percentEncoded } from '../src/grpc.ts'

describe('text in grpc-message', () => {
  it.each([
    ['ACCESS_DENIED: Ask, with the id (see /help?x=1#a).', 'ACCESS_DENIED: Ask, with the id (see /help?x=1#a).'],
    ['100 %', '100 %25'],
    ['application’s ∞', 'application%E2%80%99s %E2%88%9E'],
    ['one\r\ngrpc-status: 0\t\u007f', 'one%0D%0Agrpc-status: 0%09%7F'],
    ['half of a pair: \ud83d', 'half of a pair: %EF%BF%BD'],
  ])('%j is %j', (text, encoded) => {
    expect(percentEncoded(text)).toBe(encoded)
    expect(decodeURIComponent(encoded)).toBe(text.toWellFormed())
  })
})
