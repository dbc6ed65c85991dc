export { IDENTITY_HEADER, type TokenIdentity } from '@postern/tokens'
export type { PresentedToken } from './presented.ts'
export { createVerifier, type VerifiedIdentity, type Verifier, type VerifierOptions } from './verifier.ts'
