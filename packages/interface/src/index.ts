export type {
  Account,
  AuthProvider,
  AuthRequest,
  AuthVerifier,
  Credential,
  Identity,
  Presented,
  Purpose,
  SignableRequest,
  Verdict,
} from './auth.ts'
export { CODES, type Code, type CodeFacts, factsOf, isCode } from './codes.ts'
export {
  type ErrorFacts,
  PosternError,
  type Problem,
  problem,
  type Refusal,
  readProblem,
  type Speaker,
} from './errors.ts'
export type { Attempts, ClientHost, EdgeHost, Host, Keys, OriginHost, Records, Secrets, Ui } from './host.ts'
export type { OptionSpec, OptionSpecs, Options } from './options.ts'
export {
  API_VERSION,
  definePlugin,
  type Kind,
  type Kinds,
  type Manifest,
  type ManifestEntry,
  type Plugin,
  type Side,
} from './plugin.ts'
export type {
  LocalListener,
  LocalSide,
  OfferedStream,
  Protocol,
  ProtocolEvent,
  ProtocolRules,
  ProtocolServer,
  RemoteSide,
  RequestAnswer,
  RequestRule,
  RequestsSide,
  RuleFindings,
  RuleSpec,
} from './protocol.ts'
export type {
  AcceptWatch,
  Dialled,
  DialRequest,
  Door,
  HttpDoor,
  Incoming,
  Pipe,
  PipePurpose,
  Preface,
  Securing,
  Transport,
  TransportListener,
} from './transport.ts'
export type { Application, Call, Destination, Fields, Json, Logger, ReceivedHeaders, SentHeaders } from './words.ts'
