import { createHash, hash } from 'node:crypto'
import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'

/** Files and bytes of a plugin with everything it depends on. The largest cloud SDKs stay below a third of it. */
const MOST_FILES = 20_000
const MOST_BYTES = 256 * 2 ** 20
/** Files read at once. */
const AT_ONCE = 16

/**
 * What stands in a folder, as one hash: of the lines that
 * `find . -type f | LC_ALL=C sort | xargs -d '\n' sha512sum` prints in it. Modes and times do not count.
 *
 * @param how `sync`: each file is on the disk before it is counted
 * @returns `wrong`, half a sentence: there is a link, a device or a file with an odd name, or there is too much
 */
export async function hashTree(
  folder: string,
  how: { readonly sync?: boolean } = {},
): Promise<{ readonly hash: string } | { readonly wrong: string }> {
  const found = await pathsIn(folder)
  if ('wrong' in found) return found
  const paths = found.paths.map(path => Buffer.from(path)).sort(Buffer.compare)
  const whole = createHash('sha512')
  let bytes = 0
  for (let at = 0; at < paths.length; at += AT_ONCE) {
    const some = paths.slice(at, at + AT_ONCE).map(String)
    const read = await Promise.all(some.map(path => readFile(join(folder, path), how.sync === true)))
    for (const [index, { digest, size }] of read.entries()) {
      bytes += size
      whole.update(`${digest}  ${some[index]}\n`)
    }
    if (bytes > MOST_BYTES) return { wrong: `more than ${MOST_BYTES} bytes` }
  }
  return { hash: `sha512-${whole.digest('base64')}` }
}

/** Of all files, as `./a/b`. */
async function pathsIn(folder: string): Promise<{ readonly paths: readonly string[] } | { readonly wrong: string }> {
  const paths: string[] = []
  const folders = ['.']
  for (let next = folders.pop(); next !== undefined; next = folders.pop()) {
    for (const entry of await readdir(join(folder, next), { withFileTypes: true })) {
      const path = `${next}/${entry.name}`
      if (/[\\\n\r]/.test(entry.name)) return { wrong: `a file with an odd name: ${JSON.stringify(path)}` }
      if (entry.isDirectory()) folders.push(path)
      else if (entry.isFile()) paths.push(path)
      else return { wrong: `${JSON.stringify(path)}, which is neither a file nor a folder` }
    }
    if (paths.length + folders.length > MOST_FILES) return { wrong: `more than ${MOST_FILES} files` }
  }
  return { paths }
}

async function readFile(path: string, sync: boolean): Promise<{ readonly digest: string; readonly size: number }> {
  await using file = await open(path)
  const { size } = await file.stat()
  if (size > MOST_BYTES) return { digest: '', size }
  const content = await file.readFile()
  if (sync) await file.sync()
  return { digest: hash('sha512', content, 'hex'), size: content.length }
}
