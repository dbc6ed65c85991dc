import type { Logger } from '@postern/interface'

/** Says which forward it is about. */
export function named(log: Logger, application: string): Logger {
  return {
    debug: (message, fields) => log.debug(message, { application, ...fields }),
    info: (message, fields) => log.info(message, { application, ...fields }),
    warn: (message, fields) => log.warn(message, { application, ...fields }),
    error: (message, fields) => log.error(message, { application, ...fields }),
  }
}
