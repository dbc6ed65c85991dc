import type { Authority } from '@postern/admin'
import { PosternError } from '@postern/interface'
import type { HostOptionSpecs } from '@postern/options'
import { asSeen } from './as-seen.ts'
import { certificatesIn, keyIn, listIn } from './ca-files.ts'
import { type Context, command, group } from './command.ts'
import { seconds } from './options.ts'
import { facts, relative, table } from './show.ts'
import { mustNameSomebody, ruleName, WHOM, whomIn } from './whom.ts'

/** How a CA issues, as flags. */
const SETTINGS = {
  longest: { type: 'duration', summary: 'how long a certificate lasts at most, 5m to 825d (default: 30d)' },
  renewFor: {
    type: 'duration',
    summary: 'how long from its first issue a certificate renews itself by its own key; 0s is never (default: 365d)',
  },
  forHostname: {
    type: 'string',
    multiple: true,
    summary: 'an application that may name it in its rules (default: every one)',
  },
} as const satisfies HostOptionSpecs

const MADE = {
  commonName: { type: 'string', summary: 'what the CA’s certificate says it is (default: the name)' },
  days: { type: 'number', summary: 'how long the CA lasts, 1 to 9131 days (default: 3650)' },
  keyType: { type: 'string', summary: 'ec (P-256) or rsa (2048 bits, for what is old) (default: ec)' },
} as const satisfies HostOptionSpecs

const IMPORTED = {
  cert: { type: 'path', summary: 'PEM file of the CA’s certificate, or of several that are trusted alike' },
  key: { type: 'secret', summary: 'PEM of its private key; without it, the CA only says whose certificates are good' },
  passphrase: { type: 'secret', summary: 'what the key is encrypted with' },
} as const satisfies HostOptionSpecs

const { cert, ...SECRETS } = IMPORTED

export const CA = group('Certificate authorities: whose client certificates are known, and who may ask for one', {
  create: command({
    summary: 'make a CA; its key never leaves the edge',
    words: ['NAME'],
    options: { ...MADE, ...SETTINGS },
    example: 'postern admin ca create team --longest 30d',
    run: ({ words, values, ask }) =>
      ask('ca.create', { body: { name: words.NAME, ...madeBy(values), ...settingsIn(values) } }),
    show(authority, { say, place }) {
      return place().then(({ again }) => {
        say('Next, say who may ask for certificates, and let them in somewhere:')
        say(`  postern admin ca allow ${authority.name} --service-token NAME${again}`)
        say(`  postern admin policy allow HOSTNAME --certificate ca=${authority.name}${again}`)
        return describe(authority)
      })
    },
  }),
  import: command({
    summary: 'let a CA of another program be known here, with its key or without',
    words: ['NAME'],
    options: { cert: { ...cert, required: true }, ...SECRETS, ...SETTINGS },
    example: 'postern admin ca import devices --cert ./devices-ca.pem',
    async run({ words, values, ask }) {
      const certificates = await certificatesIn(values.cert)
      return ask('ca.import', { body: { name: words.NAME, certificates, ...keyIn(values), ...settingsIn(values) } })
    },
    show: describe,
  }),
  list: command({
    summary: 'list the CAs',
    example: 'postern admin ca list',
    run: ({ ask }) => ask('ca.list', {}),
    show: authorities =>
      table(['NAME', 'ISSUES', 'CERTIFICATES', 'ENDS', 'LIST', 'APPLICATIONS'], authorities.map(rowOf)),
  }),
  show: command({
    summary: 'show a CA; with --pem its certificates alone, for other programs',
    words: ['NAME'],
    options: { pem: { type: 'boolean', default: false, summary: 'print its certificates in PEM, and nothing else' } },
    example: 'postern admin ca show team --pem > team-ca.pem',
    run: ({ words, ask }) => ask('ca.get', { params: { ca: words.NAME } }),
    show: (authority, { values }) =>
      values.pem ? authority.certificates.map(({ pem }) => pem).join('') : describe(authority),
  }),
  update: command({
    summary: 'change how long its certificates last, and where it may be named',
    words: ['NAME'],
    options: {
      ...SETTINGS,
      everyHostname: { type: 'boolean', default: false, summary: 'every application may name it' },
    },
    example: 'postern admin ca update team --longest 7d',
    run({ words, values, ask }) {
      const { everyHostname, forHostname } = values
      if (everyHostname && forHostname.length > 0)
        throw new PosternError('OPTION_CONFLICT', '--every-hostname and --for-hostname contradict each other')
      const body = { ...settingsIn(values), ...(everyHostname && { hostnames: null }) }
      return ask('ca.put', { params: { ca: words.NAME }, body })
    },
    show: describe,
  }),
  allow: command({
    summary: 'let people or machines ask for certificates, by a further rule',
    words: ['NAME'],
    options: { ...WHOM, rule: { type: 'string', summary: 'the rule’s name (default: the action and whom)' } },
    example: 'postern admin ca allow team --email-domain example.com',
    run: ({ words, values, ...context }) => {
      const include = whomIn(values)
      mustNameSomebody(include, 'allow')
      const rule = { name: values.rule ?? ruleName('allow', include), action: 'allow' as const, include }
      return changingRules(words.NAME, context, rules => [...rules, rule])
    },
    show: describe,
  }),
  disallow: command({
    summary: 'take a rule away by which somebody may ask; what they have stays good until it is revoked or ends',
    words: ['NAME', 'RULE'],
    example: "postern admin ca disallow team 'allow example.com'",
    run: ({ words, ...context }) =>
      changingRules(words.NAME, context, rules => {
        if (rules.some(({ name }) => name === words.RULE)) return rules.filter(({ name }) => name !== words.RULE)
        throw new PosternError('NOT_FOUND', `the CA ${words.NAME} has no rule ${JSON.stringify(words.RULE)}`, {
          next: `It has: ${rules.map(({ name }) => JSON.stringify(name)).join(', ') || 'none'}.`,
        })
      }),
    show: describe,
  }),
  rotate: command({
    summary: 'add a certificate to a CA, which issues from now on; those of the ones before stay good',
    words: ['NAME'],
    options: { ...MADE, ...IMPORTED },
    example: 'postern admin ca rotate team',
    async run({ words, values, ask }) {
      const { cert: file, key, commonName, days, keyType } = values
      if (file === undefined && key !== undefined)
        throw new PosternError('OPTION_MISSING', '--key is that of a certificate: give --cert too')
      const isBoth = file !== undefined && [commonName, days, keyType].some(one => one !== undefined)
      if (isBoth) throw new PosternError('OPTION_CONFLICT', '--cert is a certificate that is made already')
      const imported = file && { certificates: await certificatesIn(file), ...keyIn(values) }
      return ask('ca.rotate', { params: { ca: words.NAME }, body: imported || madeBy(values) })
    },
    show(authority, { say }) {
      say('When all who hold certificates of the one before have renewed them, retire it by its fingerprint.')
      return describe(authority)
    },
  }),
  retire: command({
    summary: 'take a certificate of a CA away that issues no more; who came by what it issued is cut off',
    words: ['NAME', 'FINGERPRINT'],
    example: 'postern admin ca retire team 0123456789abcdef',
    run: ({ words, ask }) => ask('ca.retire', { params: { ca: words.NAME, fingerprint: words.FINGERPRINT } }),
    show: describe,
  }),
  crl: command({
    summary: 'give the edge a CA’s current revocation list; who came by what it lists is cut off',
    words: ['NAME'],
    options: {
      file: { type: 'path', aliases: ['f'], summary: 'the list, PEM or DER, at most 4 MiB' },
      remove: { type: 'boolean', default: false, summary: 'take the list away: what it lists is good again' },
    },
    example: 'postern admin ca crl devices -f ./devices.crl',
    async run({ words, values: { file, remove }, ask }) {
      const params = { ca: words.NAME }
      if (remove && file !== undefined) throw new PosternError('OPTION_CONFLICT', '--file and --remove are two things')
      if (remove) return ask('crl.delete', { params })
      if (file === undefined) throw new PosternError('OPTION_MISSING', 'which list? Give --file FILE, or --remove')
      return ask('crl.put', { params, body: { crl: await listIn(file) } })
    },
    show: describe,
  }),
  delete: command({
    summary: 'remove a CA that no rule names; who came by its certificates is cut off',
    words: ['NAME'],
    example: 'postern admin ca delete devices',
    async run({ words, ask }) {
      await ask('ca.delete', { params: { ca: words.NAME } })
      return { name: words.NAME, deleted: true }
    },
    show: ({ name }) => `the CA ${name} is removed\n`,
  }),
})

type Rules = Authority['rules']

/** As they were seen: what somebody else changes meanwhile is not lost. */
async function changingRules(
  ca: string,
  { ask }: Pick<Context<never, Record<never, never>>, 'ask'>,
  change: (rules: Rules) => Rules,
): Promise<Authority> {
  return asSeen(async () => {
    const { version } = await ask('status.get', {})
    const { rules } = await ask('ca.get', { params: { ca } })
    return ask('ca.put', { params: { ca }, body: { rules: change(rules), ifVersion: version } })
  })
}

function settingsIn({
  longest,
  renewFor,
  forHostname,
}: {
  readonly longest: number | undefined
  readonly renewFor: number | undefined
  readonly forHostname: readonly string[]
}) {
  return {
    ...(longest !== undefined && { leafSeconds: seconds(longest) }),
    ...(renewFor !== undefined && { renewSeconds: seconds(renewFor) }),
    ...(forHostname.length > 0 && { hostnames: [...forHostname] }),
  }
}

function madeBy({
  commonName,
  days,
  keyType,
}: {
  readonly commonName: string | undefined
  readonly days: number | undefined
  readonly keyType: string | undefined
}) {
  const known = KEY_TYPES.find(one => one === keyType)
  if (keyType !== undefined && known === undefined) throw new PosternError('OPTION_INVALID', '--key-type is ec or rsa')
  return {
    ...(commonName !== undefined && { commonName }),
    ...(days !== undefined && { days }),
    ...(known !== undefined && { keyType: known }),
  }
}

const KEY_TYPES = ['ec', 'rsa'] as const

function rowOf({ name, certificates, revocationList, applications }: Authority) {
  const ends = certificates.map(({ notAfter }) => notAfter).sort()[0]
  const issues = certificates.some(({ issuing }) => issuing)
  const list = revocationList && (relative(revocationList.nextUpdate) ?? 'yes')
  return [name, issues, certificates.length, relative(ends), list, applications.join(' ')]
}

/** In the largest unit that it is whole in. */
function lengthOf(seconds: number): string {
  const [unit, size] = UNITS.find(([, length]) => seconds % length === 0) ?? ['s', 1]
  return `${seconds / size} ${unit}`
}

const UNITS = [
  ['d', 86_400],
  ['h', 3600],
  ['min', 60],
] as const

function describe(authority: Authority): string {
  const { id, name, hostnames, rules, leafSeconds, renewSeconds, revocationList, applications } = authority
  return facts([
    ['name', name],
    ['id', id],
    ...authority.certificates.flatMap(
      ({ fingerprint, subject, notAfter, keyType, issuing }) =>
        [
          [issuing ? 'issues with' : 'trusts', `${subject} (${keyType}), until ${notAfter}`],
          ['', fingerprint],
        ] as const,
    ),
    ['lets ask', rules.map(rule => rule.name).join(', ') || 'administrators only'],
    ['longest', lengthOf(leafSeconds)],
    ['renews for', renewSeconds === 0 ? 'never' : lengthOf(renewSeconds)],
    ['may be named by', hostnames?.join(' ') ?? 'every application'],
    ['is meant by', applications.join(' ') || 'none'],
    ...(revocationList === undefined
      ? []
      : ([
          ['revocation list', `${revocationList.serials} serials, of ${revocationList.thisUpdate}`],
          ['next list due', revocationList.nextUpdate],
        ] as const)),
  ])
}
