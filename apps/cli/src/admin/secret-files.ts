import { type FileHandle, open, rm } from 'node:fs/promises'
import { PosternError } from '@postern/interface'

/** Files for secrets that are about to be made. What was not written is gone when this is disposed. */
export interface Reserved extends AsyncDisposable {
  write(path: string, secret: string): Promise<void>
}

/**
 * Makes the files, empty and for this user alone, before anything else is made: a secret that cannot be kept must not exist.
 * No file that is there is touched.
 *
 * @throws PosternError ALREADY_EXISTS, FILE_UNREADABLE; then none of them is made
 */
export async function reserve(paths: readonly string[]): Promise<Reserved> {
  const made = new Map<string, FileHandle>()
  const give = async () => {
    for (const [path, handle] of made) {
      made.delete(path)
      await handle.close()
      await rm(path, { force: true })
    }
  }
  try {
    for (const path of paths) made.set(path, await make(path))
  } catch (error) {
    await give()
    throw error
  }
  return {
    async write(path, secret) {
      const handle = made.get(path)
      if (!handle) throw new PosternError('INTERNAL', `${path} was not reserved`)
      await handle.writeFile(`${secret}\n`)
      await handle.sync()
      made.delete(path)
      await handle.close()
    },
    [Symbol.asyncDispose]: give,
  }
}

async function make(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'wx', 0o600) // exclusive: it follows no link either
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'EEXIST')
      throw new PosternError('ALREADY_EXISTS', `${path} is there already`, {
        cause,
        next: 'Name another file, or move that one away.',
      })
    throw new PosternError('FILE_UNREADABLE', `${path} cannot be made (${code})`, { cause })
  }
}

/** What was made, and where its secret went if not into the result. */
export type Kept<M, S extends keyof M> = Omit<M, S> & Partial<Pick<M, S>> & { readonly file?: string }

/** Makes what has a secret, and puts that into a file where one is named. */
export async function keep<M extends object, S extends keyof M & string>(
  file: string | undefined,
  secret: S,
  make: () => Promise<M>,
): Promise<Kept<M, S>> {
  if (file === undefined) return make()
  await using reserved = await reserve([file])
  const { [secret]: text, ...made } = await make()
  await reserved.write(file, String(text))
  return { ...made, file } as unknown as Kept<M, S> // the compiler does not reckon with keys it does not know
}
