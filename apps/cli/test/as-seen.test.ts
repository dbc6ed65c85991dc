import { PosternError } from '@postern/interface'
import { expect, test } from 'vitest'
import { asSeen } from '../src/admin/as-seen.ts'

const after = (conflicts: number, code: 'CONFLICT' | 'NOT_FOUND' = 'CONFLICT') => {
  let tries = 0
  return async () => {
    tries += 1
    if (tries <= conflicts) throw new PosternError(code, 'somebody was quicker')
    return tries
  }
}

test('what somebody changed in between is read again; any other refusal stands', async () => {
  expect(await asSeen(after(0))).toBe(1)
  expect(await asSeen(after(4))).toBe(5)
  await expect(asSeen(after(5))).rejects.toMatchObject({ code: 'CONFLICT' })
  await expect(asSeen(after(1, 'NOT_FOUND'))).rejects.toMatchObject({ code: 'NOT_FOUND' })
})
