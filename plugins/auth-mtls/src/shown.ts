import { X509Certificate } from 'node:crypto'
import { PosternError, type Presented } from '@postern/interface'
import { type LeafFacts, readLeaf } from '@postern/pki/leaf'

/** A certificate that was shown, with those between it and its CA. */
export interface Shown {
  readonly leaf: LeafFacts
  /** Of the leaf first, then of those above it, without the CA: lower-case hex without leading zeros. */
  readonly serials: readonly string[]
  /** Milliseconds since the epoch: from when and until when all of them are good, the CA too. */
  readonly notBefore: number
  readonly notAfter: number
}

const READ = new WeakMap<Uint8Array, { readonly chain: readonly Uint8Array[]; readonly shown: Shown }>()

/** Characters of all that an identity repeats, which travels with every stream; the host takes 8192 with what ends it. */
const LONGEST_NAMES = 6144
/** Bytes of a leaf: an origin is told of it in a header. */
const LONGEST_LEAF = 8192

/**
 * Reads what was shown: once for each connection, where the host keeps what it presents.
 *
 * @param chain as it is presented, the CA last
 * @throws PosternError CERTIFICATE_REJECTED: there is more in it than can be told apart, or something else than a certificate
 */
export function readShown(der: Uint8Array, chain: NonNullable<Presented['peerCertificateChain']>): Shown {
  const known = READ.get(der)
  if (known?.chain === chain) return known.shown
  const shown = read(der, chain)
  READ.set(der, { chain, shown })
  return shown
}

function read(der: Uint8Array, chain: readonly Uint8Array[]): Shown {
  try {
    const leaf = readLeaf(der)
    const { commonName, issuer, san } = leaf
    // It is called by the first.
    const names = JSON.stringify([commonName, issuer, san, san[0]])
    if (der.length > LONGEST_LEAF || names.length > LONGEST_NAMES)
      throw new PosternError('CERTIFICATE_REJECTED', 'the client certificate is larger than any that is taken')
    const above = chain.map(certificateOf)
    const between = above.slice(0, -1).map(one => serialIn(one))
    return {
      leaf,
      serials: [leaf.serial, ...between],
      notBefore: Math.max(leaf.notBefore, ...above.map(one => one.validFromDate.getTime())),
      notAfter: Math.min(leaf.notAfter, ...above.map(one => one.validToDate.getTime())),
    }
  } catch (cause) {
    const why = PosternError.is(cause) ? cause.message : 'the client certificate cannot be read'
    throw new PosternError('CERTIFICATE_REJECTED', why, { cause })
  }
}

/** @throws RangeError for more than one certificate */
function certificateOf(der: Uint8Array): X509Certificate {
  const certificate = new X509Certificate(der)
  if (certificate.raw.length === der.length) return certificate
  throw new RangeError('bytes after the end')
}

function serialIn({ serialNumber }: X509Certificate): string {
  return serialNumber.toLowerCase().replace(/^(00)+(?=..)/, '')
}
