import { mergeConfig } from 'vitest/config'
import shared from '../../vitest.shared.ts'

// Plugins are imported by Node itself, as in production, not by the test runner's own loader.
export default mergeConfig(shared, { test: { experimental: { viteModuleRunner: false } } })
