import type { OptionSpecs } from '@postern/interface'
import { type Case, type Framework, register } from '../case.ts'
import { arrivingCases } from './arriving.ts'
import { carryingCases } from './carrying.ts'
import { endingCases } from './ending.ts'
import { failingCases } from './failing.ts'
import { keepingCases } from './keeping.ts'
import { type TransportKit, transportSubject } from './rig.ts'

/** Every case for a transport, client and edge side together, over real loopback sockets. */
export function transportCases<C extends OptionSpecs, E extends OptionSpecs>(
  kit: Omit<TransportKit<C, E>, keyof Framework>,
): readonly Case[] {
  const subject = transportSubject(kit)
  return [arrivingCases, carryingCases, endingCases, failingCases, keepingCases].flatMap(cases => cases(subject))
}

/**
 * Registers {@link transportCases} with a test framework.
 *
 * @example
 * transportCompliance({ describe, it, client, edge })
 */
export function transportCompliance<C extends OptionSpecs, E extends OptionSpecs>(kit: TransportKit<C, E>): void {
  register(kit, `transport ${kit.client.name} keeps its contract`, transportCases(kit))
}
