import { lookup } from '@postern/client'
import { type OriginHost, PosternError } from '@postern/interface'

/** What the daemon lends the origin sides of its plugins: names are resolved as for its own services, so localhost is loopback. */
export const originHost: OriginHost = {
  resolve: host =>
    new Promise((resolve, reject) => {
      lookup(host, { all: true }, (cause, addresses) => {
        if (cause)
          return reject(new PosternError('ORIGIN_NOT_RESOLVED', `the name does not resolve (${cause.code})`, { cause }))
        resolve([addresses].flat().map(one => (typeof one === 'string' ? one : one.address)))
      })
    }),
}
