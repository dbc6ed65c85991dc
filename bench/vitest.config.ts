import { mergeConfig } from 'vitest/config'
import shared from '../vitest.shared.ts'

// Real processes on few cores: slow to start.
export default mergeConfig(shared, { test: { testTimeout: 180_000, hookTimeout: 90_000 } })
