/**
 * Where proxies tell an origin of a visitor's certificate: RFC 9440, Envoy, nginx, HAProxy, Traefik, F5, WebLogic, WebSphere, Azure,
 * AWS and Cloudflare. Only the edge says it here. Names in lower case, with a hyphen for whatever an origin may take for one.
 */
const TOLD = new RegExp(
  [
    '(?:^|-)client-?cert(?:s|ificate)?(?:-|$)',
    '^(?:x-)?(?:forwarded-)?(?:ssl|tls|mtls)-?client(?:-|-?cert|$)',
    '^(?:x-)?(?:forwarded-)?(?:ssl|tls|mtls)-(?:cert(?:s|ificate)?|subject|issuer|serial|verify|s-dn|i-dn)(?:-|$)',
    '^-wscc$',
    '^x-(?:arr|amzn-mtls)-clientcert(?:-|$)',
    '^x-client-(?:verify|verified|dn|cn|s-dn|i-dn)(?:-|$)',
    '^cf-(?:client-)?cert(?:-|$)',
  ].join('|'),
)

/** Whether a header's name speaks of a client certificate: nobody who sends it is believed. @param name folded */
export function tellsOfCertificate(name: string): boolean {
  return TOLD.test(name)
}
