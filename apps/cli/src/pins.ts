import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Pins } from '@postern/client'
import { PosternError } from '@postern/interface'
import { type Program, readPrivate, userFolder, writePrivate } from '@postern/program'

/** The keys of tunnels, in this user's folder: a file for each application, so that two programs never write one together. */
export interface FilePins extends Pins {
  /** No error where there is none. */
  forget(hostname: string): Promise<void>
}

/** @param hostname in the form of `readHostname`, which is fit to be a file's name */
export function filePins({ env }: Pick<Program, 'env'>): FilePins {
  const fileOf = (hostname: string) => join(userFolder(env), 'pins', hostname)
  return {
    async get(hostname) {
      const file = fileOf(hostname)
      const pin = (await readPrivate(file))?.trim()
      if (pin === undefined || isPin(pin)) return pin
      throw new PosternError('CONFIG_INVALID', `${file} does not hold the fingerprint of a tunnel’s key`, {
        next: `postern access pin --hostname ${hostname} --set sha256:…, with what the tunnel’s administrator says.`,
      })
    },
    keep: (hostname, pin) => writePrivate(fileOf(hostname), `${pin}\n`),
    forget: hostname => rm(fileOf(hostname), { force: true }),
  }
}

/** @throws PosternError OPTION_INVALID */
export function readPin(text: string, flag: string): string {
  const pin = text.toLowerCase()
  if (isPin(pin)) return pin
  throw new PosternError('OPTION_INVALID', `${flag} is sha256: and 64 hexadecimal digits, as posternd prints it`)
}

function isPin(text: string): boolean {
  return /^sha256:[0-9a-f]{64}$/.test(text)
}
