import { PosternError } from '@postern/interface'

const MOST_TRIES = 5

/**
 * Reads, then changes what was read: where somebody changed anything at the edge in between, once more from the start.
 *
 * @throws what `change` throws; PosternError CONFLICT when others were quicker five times
 */
export async function asSeen<T>(change: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await change()
    } catch (error) {
      if (!PosternError.is(error) || error.code !== 'CONFLICT' || tries === MOST_TRIES) throw error
    }
  }
}
