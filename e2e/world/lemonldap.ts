import { spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '@postern/dev'
import { Running } from './program.ts'

/** What the Debian packages bring: the portal as a PSGI application, and a configuration to begin from. */
export const LEMONLDAP_PEERS = ['lemonldap-ng', 'perl-string-random', 'perl-io-string']
const SAMPLE = '/var/lib/lemonldap-ng/conf/lmConf-1.json'

/** A LemonLDAP::NG portal, an OpenID provider of another make. Its demonstration users are `dwho` and `rtyler`, each their own password. */
export interface Lemonldap extends AsyncDisposable {
  readonly issuer: string
  readonly clientId: string
  readonly clientSecret: string
}

export interface LemonldapOptions {
  /** Its own folder; it is there. */
  readonly folder: string
  /** PEM, for `idp.localhost`. */
  readonly tls: { readonly cert: string; readonly key: string }
  readonly redirectUri: string
}

/** Starts it behind TLS on loopback, at `https://idp.localhost:PORT/`. */
export async function startLemonldap({ folder, tls, redirectUri }: LemonldapOptions): Promise<Lemonldap> {
  const inside = await freePort()
  const portal = createServer(tls, (request, response) => {
    const { method, url: path, headers } = request
    const forward = httpRequest({ host: '127.0.0.1', port: inside, method, path, headers }, answer => {
      response.writeHead(answer.statusCode ?? 502, answer.rawHeaders)
      answer.pipe(response)
    })
    forward.on('error', () => response.writeHead(502).end())
    request.pipe(forward)
  })
  await new Promise<void>(resolve => portal.listen(0, '127.0.0.1', () => resolve()))
  const issuer = `https://idp.localhost:${(portal.address() as AddressInfo).port}/`
  const client = { clientId: 'postern', clientSecret: 'a secret of the test' }
  const environment = writeConfiguration(folder, issuer, redirectUri, client)
  const flags = ['--host', '127.0.0.1', '--port', String(inside), '-E', 'deployment', '-s', 'HTTP::Server::PSGI']
  const server = new Running(
    spawn('plackup', [...flags, join(folder, 'index.psgi')], { env: { ...process.env, ...environment } }),
    'plackup',
  )
  const stop = async () => {
    await server.stop('SIGKILL')
    portal.closeAllConnections()
    await new Promise<void>(resolve => portal.close(() => resolve()))
  }
  try {
    await answers(`http://127.0.0.1:${inside}/.well-known/openid-configuration`)
  } catch (error) {
    await stop()
    throw error
  }
  return { issuer, ...client, [Symbol.asyncDispose]: stop }
}

/** It says nothing when it is ready. */
async function answers(url: string): Promise<void> {
  const until = Date.now() + 60_000
  for (;;) {
    const answer = await fetch(url, { signal: AbortSignal.timeout(5000) }).catch(() => undefined)
    if (answer?.ok) return
    if (Date.now() > until) throw new Error('LemonLDAP::NG did not start')
    await sleep(200)
  }
}

function writeConfiguration(
  folder: string,
  issuer: string,
  redirectUri: string,
  { clientId, clientSecret }: Pick<Lemonldap, 'clientId' | 'clientSecret'>,
): NodeJS.ProcessEnv {
  for (const name of ['conf', 'sessions/lock', 'lasting/lock']) mkdirSync(join(folder, name), { recursive: true })
  const write = (name: string, text: string): string => {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }
  const ini = [
    ...['[all]', 'logLevel = warn', 'logger = Lemonldap::NG::Common::Logger::Std'],
    ...['userLogger = Lemonldap::NG::Common::Logger::Std', 'checkTime = 1'],
    ...['[configuration]', 'type = File', `dirName = ${join(folder, 'conf')}`],
    ...['[portal]', 'staticPrefix = /static', 'templateDir = /usr/share/lemonldap-ng/portal/templates'],
    'languages = en',
  ]
  const { privateKey, publicKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
  const files = (name: string) => ({
    Directory: join(folder, name),
    LockDirectory: join(folder, name, 'lock'),
    generateModule: 'Lemonldap::NG::Common::Apache::Session::Generate::SHA256',
  })
  const configuration = {
    ...(JSON.parse(readFileSync(SAMPLE, 'utf8')) as object),
    cfgNum: 1,
    portal: issuer,
    domain: 'idp.localhost',
    securedCookie: 1,
    ...{ authentication: 'Demo', userDB: 'Same', passwordDB: 'Demo', registerDB: 'Null' },
    ...{ globalStorage: 'Apache::Session::File', globalStorageOptions: files('sessions') },
    ...{ persistentStorage: 'Apache::Session::File', persistentStorageOptions: files('lasting') },
    localSessionStorage: '',
    captcha: '::Captcha::None',
    ...{ skipRenewConfirmation: 1, portalCheckLogins: 0, requireToken: 0 },
    issuerDBOpenIDConnectActivation: 1,
    oidcServiceMetaDataIssuer: issuer,
    oidcServiceAllowAuthorizationCodeFlow: 1,
    ...{ oidcServicePrivateKeySig: privateKey, oidcServicePublicKeySig: publicKey, oidcServiceKeyIdSig: 'one' },
    oidcRPMetaDataOptions: {
      postern: {
        oidcRPMetaDataOptionsClientID: clientId,
        oidcRPMetaDataOptionsClientSecret: clientSecret,
        oidcRPMetaDataOptionsRedirectUris: redirectUri,
        oidcRPMetaDataOptionsBypassConsent: 1,
        oidcRPMetaDataOptionsIDTokenSignAlg: 'RS256',
        oidcRPMetaDataOptionsIDTokenForceClaims: 1,
        oidcRPMetaDataOptionsUserIDAttr: 'uid',
      },
    },
    oidcRPMetaDataExportedVars: { postern: { email: 'mail', name: 'cn' } },
  }
  write('conf/lmConf-1.json', JSON.stringify(configuration))
  // The portal draws pictures at start, with a graphics library that nothing here needs.
  write(
    'perl/Lemonldap/NG/Portal/Captcha/None.pm',
    "package Lemonldap::NG::Portal::Captcha::None;\nuse Mouse;\nextends 'Lemonldap::NG::Portal::Main::Plugin';\nsub init { 1 }\n1;\n",
  )
  write('index.psgi', 'use Lemonldap::NG::Portal::Main;\nLemonldap::NG::Portal::Main->run({});\n')
  return { LLNG_DEFAULTCONFFILE: write('lemonldap-ng.ini', `${ini.join('\n')}\n`), PERL5LIB: join(folder, 'perl') }
}
