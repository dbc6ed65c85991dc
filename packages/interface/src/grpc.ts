/**
 * A text as gRPC carries it in `grpc-message`: what is neither visible ASCII nor a space, and `%` itself, as the bytes of its UTF-8, each `%XX`
 * (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses). Nothing else is changed, so that libraries that do not decode it
 * show it as it is meant.
 */
export function percentEncoded(text: string): string {
  return text.toWellFormed().replace(/[^ -$&-~]+/g, encodeURIComponent)
}
