export type { Found } from './catalogue.ts'
export type { Where } from './locate.ts'
export { checkManifest, LARGEST_MANIFEST, readManifest } from './manifest.ts'
export { type Builtin, createRegistry, type Owner, type Registry, type RegistryOptions } from './registry.ts'
