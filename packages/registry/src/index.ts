export type { Found } from './catalogue.ts'
export type { Located, Where } from './locate.ts'
export { locate } from './locate.ts'
export {
  checkLocked,
  EXACT_VERSION,
  LOCK_FILE,
  type LockedPlugin,
  PACKAGE_NAME,
  type PluginLock,
  readLock,
} from './lock.ts'
export { checkManifest, LARGEST_MANIFEST, readManifest, readPackageFile } from './manifest.ts'
export { type Builtin, createRegistry, type Owner, type Registry, type RegistryOptions } from './registry.ts'
export { hashTree } from './tree.ts'
