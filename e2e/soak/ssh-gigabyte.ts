import { createHash, randomFillSync } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream, createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { temporaryFolder } from '../world/folder.ts'
import { run } from '../world/program.ts'
import { startSshOrigin, writeSshConfig } from '../world/ssh.ts'
import { startWorld } from '../world/world.ts'

/** security.md row 80: a gigabyte by scp, sftp and rsync, each way, hashes equal. */
export const stated = { mebibytes: 1024 }

export default async function (size: { readonly mebibytes: number }): Promise<Record<string, number | string>> {
  using folder = temporaryFolder()
  await using origin = await startSshOrigin(folder.path)
  await using world = await startWorld({ hostname: 'ssh.localhost', service: `ssh://127.0.0.1:${origin.port}` })
  const config = writeSshConfig(world, origin)
  const file = join(folder.path, 'file')
  await writeRandom(file, size.mebibytes)
  const hash = await sha256(file)
  const ways: Record<string, (to: string, back: string) => readonly (readonly [string, readonly string[], string?])[]> =
    {
      scp: (to, back) => [
        ['scp', ['-F', config, file, `ssh.localhost:${to}`]],
        ['scp', ['-F', config, `ssh.localhost:${to}`, back]],
      ],
      sftp: (to, back) => [
        ['sftp', ['-F', config, '-b', '-', 'ssh.localhost'], `put ${file} ${to}\nget ${to} ${back}\n`],
      ],
      rsync: (to, back) => [
        ['rsync', ['-e', `ssh -F ${config}`, file, `ssh.localhost:${to}`]],
        ['rsync', ['-e', `ssh -F ${config}`, `ssh.localhost:${to}`, back]],
      ],
    }
  const figures: Record<string, number | string> = { sha256: hash }
  for (const [name, commands] of Object.entries(ways)) {
    const [to, back] = [`${file}.${name}.there`, `${file}.${name}.back`]
    const began = Date.now()
    for (const [program, args, input = ''] of commands(to, back)) {
      const { code, stderr } = await run(program, args, { input, timeout: 1_200_000 })
      if (code !== 0) throw new Error(`${name} ended with ${code}: ${stderr}`)
    }
    for (const copy of [to, back]) if ((await sha256(copy)) !== hash) throw new Error(`${name}: ${copy} differs`)
    figures[`${name} seconds both ways`] = Math.round((Date.now() - began) / 100) / 10
    process.stderr.write(`${name}: equal\n`)
  }
  return figures
}

async function writeRandom(file: string, mebibytes: number): Promise<void> {
  const out = createWriteStream(file)
  const chunk = Buffer.alloc(1024 * 1024)
  for (let i = 0; i < mebibytes; i++) if (!out.write(Buffer.from(randomFillSync(chunk)))) await once(out, 'drain')
  out.end()
  await once(out, 'close')
}

async function sha256(file: string): Promise<string> {
  const sum = createHash('sha256')
  for await (const chunk of createReadStream(file)) sum.update(chunk)
  return sum.digest('hex')
}
