import { mergeConfig } from 'vitest/config'
import shared from '../vitest.shared.ts'

// Real processes on few cores: slow to start, and each load takes all there is.
export default mergeConfig(shared, { test: { testTimeout: 180_000, hookTimeout: 90_000, fileParallelism: false } })
