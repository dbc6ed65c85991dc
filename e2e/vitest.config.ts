import { mergeConfig } from 'vitest/config'
import shared from '../vitest.shared.ts'

// Whole programs with real peers: they are slow to start on a small machine, and two files at once would only share its cores.
export default mergeConfig(shared, { test: { testTimeout: 90_000, hookTimeout: 90_000, fileParallelism: false } })
