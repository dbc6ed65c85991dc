import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { Namespace } from './namespaces.ts'

/** What becomes of packets on their way, as netem names it; it is done here, so that a kernel without it does as well, and by a seed. */
export interface Weather {
  /** Shares of packets, 0 to 1. */
  readonly loss?: number
  readonly duplicate?: number
  readonly corrupt?: number
  /** That go at once, before those that are delayed. */
  readonly reorder?: number
  /** Milliseconds, and how much more or less. */
  readonly delay?: number
  readonly jitter?: number
  /** Bits a second, each way between any two. */
  readonly rate?: number
}

/** Packets that wait where there is a rate; more are lost. */
const QUEUE = 40

/**
 * A TUN device on one side, length-prefixed packets on the other. Perl is on every Debian, and does what Node cannot: an ioctl.
 * 0x400454ca is TUNSETIFF, 0x1001 IFF_TUN | IFF_NO_PI.
 */
const BRIDGE = `
use strict; use Fcntl;
sysopen(my $tun, '/dev/net/tun', O_RDWR) or die "tun: $!";
ioctl($tun, 0x400454ca, pack('a16 S x22', $ARGV[0], 0x1001)) or die "TUNSETIFF: $!";
system('ip', 'addr', 'add', $ARGV[1], 'dev', $ARGV[0]) == 0 or die; system('ip', 'link', 'set', $ARGV[0], 'up') == 0 or die;
syswrite(STDOUT, pack('n', 0));
my ($in, $packet) = ('', '');
while (1) {
  my $wanted = ''; vec($wanted, fileno($tun), 1) = 1; vec($wanted, fileno(STDIN), 1) = 1;
  select($wanted, undef, undef, undef);
  if (vec($wanted, fileno($tun), 1)) { my $n = sysread($tun, $packet, 65535); syswrite(STDOUT, pack('n', $n) . $packet) if $n; }
  if (vec($wanted, fileno(STDIN), 1)) {
    sysread(STDIN, $in, 65536, length $in) or exit;
    while (length $in >= 2 and length $in >= 2 + unpack('n', $in)) {
      my $n = unpack('n', $in); syswrite($tun, substr($in, 2, $n)); $in = substr($in, 2 + $n);
    }
  }
}`

interface Machine {
  readonly namespace: Namespace
  readonly bridge: ChildProcessWithoutNullStreams
  /** By where to: when the last of its packets will have gone, by performance.now(), and how many have not. */
  readonly lines: Map<Machine, { busy: number; waiting: number }>
}

/** Machines in one network, each with an address, and the weather between them. */
export class Network implements AsyncDisposable {
  weather: Weather = {}
  readonly lost = { packets: 0, of: 0 }
  readonly #machines = new Map<string, Machine>()
  readonly #timers = new Set<NodeJS.Timeout>()
  readonly #random: () => number

  constructor(seed: number) {
    this.#random = randomOf(seed)
  }

  /** @param address such as 10.90.0.1 */
  async machine(address: string): Promise<Namespace> {
    const namespace = new Namespace()
    const bridge = spawn('ip', ['netns', 'exec', namespace.name, 'perl', '-e', BRIDGE, 'tun0', `${address}/24`])
    let said = ''
    bridge.stderr.on('data', chunk => (said += chunk))
    bridge.stdin.on('error', () => {})
    const machine: Machine = { namespace, bridge, lines: new Map() }
    this.#machines.set(address, machine)
    await Promise.race([
      once(bridge.stdout, 'readable'),
      once(bridge, 'close').then(() => Promise.reject(new Error(said))),
    ])
    let rest: Buffer = Buffer.alloc(0)
    bridge.stdout.on('data', (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk])
      while (rest.length >= 2 && rest.length >= 2 + rest.readUInt16BE()) {
        const end = 2 + rest.readUInt16BE()
        if (end > 2) this.#pass(Buffer.from(rest.subarray(0, end)), machine)
        rest = rest.subarray(end)
      }
    })
    return namespace
  }

  /** @param framed a packet of IP, its length before it */
  #pass(framed: Buffer, from: Machine): void {
    if ((framed[2] ?? 0) >> 4 !== 4) return
    const to = this.#machines.get([...framed.subarray(18, 22)].join('.'))
    if (!to) return
    const { loss = 0, duplicate = 0, corrupt = 0 } = this.weather
    this.lost.of += 1
    const packet = this.#random() < corrupt ? this.#spoilt(framed) : framed
    if (this.#random() < loss) return void (this.lost.packets += 1)
    for (let copies = this.#random() < duplicate ? 2 : 1; copies > 0; copies -= 1) this.#send(packet, from, to)
  }

  /** One bit of it is another: of its payload, or of its heads. */
  #spoilt(framed: Buffer): Buffer {
    const spoilt = Buffer.from(framed)
    const at = 2 + Math.floor(this.#random() * (framed.length - 2))
    spoilt[at] = (spoilt[at] ?? 0) ^ (1 << Math.floor(this.#random() * 8))
    return spoilt
  }

  #send(framed: Buffer, from: Machine, to: Machine): void {
    const { delay = 0, jitter = 0, reorder = 0, rate } = this.weather
    const now = performance.now()
    const line = from.lines.get(to) ?? { busy: 0, waiting: 0 }
    from.lines.set(to, line)
    let wait = this.#random() < reorder ? 0 : Math.max(0, delay + jitter * (2 * this.#random() - 1))
    if (rate !== undefined) {
      if (line.waiting >= QUEUE) return
      line.busy = Math.max(now, line.busy) + (framed.length * 8000) / rate
      wait += line.busy - now
    }
    if (wait === 0) return void to.bridge.stdin.write(framed)
    line.waiting += 1
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      line.waiting -= 1
      to.bridge.stdin.write(framed)
    }, wait)
    this.#timers.add(timer)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer)
    for (const { bridge, namespace } of this.#machines.values()) {
      bridge.kill('SIGKILL')
      if (bridge.exitCode === null && bridge.signalCode === null) await once(bridge, 'close')
      namespace[Symbol.dispose]()
    }
  }
}

/** Mulberry32: the same numbers for the same seed. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
